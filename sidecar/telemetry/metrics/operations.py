"""The client metrics of the GenAI conventions: how long, how many tokens, how soon, how steadily.

`telemetry.profile` chooses the names: `genai-next` those of the conventions' own repository, the others those of
semantic-conventions 1.41, which all shipped dashboards know. An operation is what was sent to the provider: of an
interception that was refused there is none. The conventions forbid estimates: without the provider's count, no tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.core.records import Ended, Started, Tokens
from sidecar.settings import Settings
from sidecar.telemetry.metrics import Metric, Metrics

_UNKNOWN: Final = "unknown"  # the modality: the API's count does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Which metrics a profile has."""

    duration: Metric
    first_chunk: Metric
    output_chunk: Metric


_STABLE = Names(
    duration=Metric.OPERATION_DURATION,
    first_chunk=Metric.TIME_TO_FIRST_CHUNK,
    output_chunk=Metric.TIME_PER_OUTPUT_CHUNK,
)
_NEXT = Names(
    duration=Metric.INFERENCE_DURATION,
    first_chunk=Metric.INFERENCE_TIME_TO_FIRST_CHUNK,
    output_chunk=Metric.INFERENCE_TIME_PER_OUTPUT_CHUNK,
)


@dataclass(slots=True, kw_only=True)
class Operation:
    """One call of a provider. `labels`: operation and provider, request and response model, server's address, port."""

    labels: tuple[str, str, str, str, str, str]
    streaming: bool
    forwarded_at: float | None = None

    def answered(self, model: str | None) -> None:
        """The response names its model, or does not."""
        if model:
            operation, provider, asked, _, address, port = self.labels
            self.labels = operation, provider, asked, model, address, port


class Operations:
    """Measures operations. `servers`: host and port of each provider, by its name."""

    def __init__(self, metrics: Metrics, servers: Mapping[str, tuple[str, str]], *, upcoming: bool = False) -> None:
        self._metrics = metrics
        self._servers = servers
        self._upcoming = upcoming
        self._names = _NEXT if upcoming else _STABLE

    def begin(self, started: Started) -> Operation:
        """The operation that may come of an interception."""
        server = self._servers.get(started.provider_name, ("", ""))
        return Operation(labels=("chat", started.provider, started.model, "", *server), streaming=started.streaming)

    def usage(self, operation: Operation, tokens: Tokens) -> None:
        """The provider has counted. The conventions' input includes what a cache gave and took."""
        operation.answered(tokens.provider_model)
        labels, metrics = operation.labels, self._metrics
        sent = tokens.input + tokens.cache_read + tokens.cache_write
        if not self._upcoming:
            metrics.observe(Metric.TOKEN_USAGE, sent, (*labels, "input"))
            metrics.observe(Metric.TOKEN_USAGE, tokens.output, (*labels, "output"))
            return
        metrics.observe(Metric.INFERENCE_INPUT_TOKENS, sent, labels)
        metrics.observe(Metric.INFERENCE_OUTPUT_TOKENS, tokens.output, labels)
        for metric, count in _counts(tokens, sent):
            metrics.add(metric, count, (*labels, _UNKNOWN))

    def end(self, operation: Operation, ended: Ended) -> None:
        """Its response has ended, one way or another."""
        since, answered = operation.forwarded_at, ended.answered
        if since is None:
            return
        operation.answered(answered.model)
        failed = ended.failure.type.value if ended.failure else ""
        self._metrics.observe(self._names.duration, max(0.0, ended.at - since), (*operation.labels, failed))
        if operation.streaming and answered.first_at is not None:
            self._metrics.observe(self._names.first_chunk, max(0.0, answered.first_at - since), operation.labels)

    def pace(self, operation: Operation, gaps: Sequence[int], total: float) -> None:
        """So many times between two chunks of its response in each bucket, `total` seconds in all."""
        if operation.streaming and any(gaps):
            self._metrics.pour(self._names.output_chunk, gaps, total, operation.labels)


def servers(settings: Settings) -> Mapping[str, tuple[str, str]]:
    """Where each provider is: host and port."""
    return {provider.name: (provider.host, str(provider.port)) for provider in settings.providers}


def _counts(tokens: Tokens, sent: int) -> Iterator[tuple[Metric, int]]:
    yield Metric.USAGE_INPUT_TOKENS_TOTAL, sent
    yield Metric.USAGE_OUTPUT_TOKENS_TOTAL, tokens.output
    yield Metric.USAGE_CACHE_READ_TOKENS_TOTAL, tokens.cache_read
    yield Metric.USAGE_CACHE_WRITE_TOKENS_TOTAL, tokens.cache_write
    if "output_reasoning" in tokens.extra:
        yield Metric.USAGE_REASONING_TOKENS_TOTAL, tokens.extra["output_reasoning"]
