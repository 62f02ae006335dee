"""From records to counts, as `Meters` hears them: what the gate lets through.

An interception is counted when it ends. Where prompts and tools may not be known (`recorder.content = "none"`) there
are no records of them, and so no counts either.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sidecar.core.records import Ended, Forwarded, Passed, Prompt, Record, Started, Tokens, Tool
from sidecar.core.routes import ROUTES, Treatment, pattern
from sidecar.telemetry.metrics import Metric, Metrics
from sidecar.telemetry.metrics.labels import OTHER
from sidecar.telemetry.metrics.operations import Operation, Operations

# Each of these is one method's.
_METHODS = {
    route: method
    for route, methods in ROUTES.items()
    for method, treatment in methods.items()
    if treatment is Treatment.INTERCEPT
}


@dataclass(slots=True, kw_only=True)
class Open:
    """What is kept of an interception until its stream has gone. `at`: when it began."""

    at: float
    provider: str
    model: str
    route: str
    client: str
    actor: tuple[str, ...]  # empty where it is no label
    operation: Operation
    has_ended: bool = False


class Counting:
    """Counts interceptions, and the operations of the GenAI conventions. On one thread; never raises."""

    def __init__(self, metrics: Metrics, operations: Operations, *, by_actor: bool) -> None:
        self._metrics = metrics
        self._operations = operations
        self._by_actor = by_actor
        self._open: dict[str, Open] = {}

    def __call__(self, records: Sequence[Record]) -> None:
        """Count them."""
        for record in records:
            if isinstance(record, Started):
                self._start(record)
            elif isinstance(record, Passed):
                route, metrics = _route(record.path), self._metrics
                metrics.add(Metric.PASSTHROUGH_TOTAL, 1.0, (record.provider_name, route, record.method))
            elif (opened := self._open.get(record.interception)) is not None and not opened.has_ended:
                self._count(opened, record)

    def pace(self, interception: str, gaps: Sequence[int], total: float) -> None:
        """Its stream has gone: so many times between two chunks in each bucket of the GenAI metric, seconds in all."""
        opened = self._open.pop(interception, None)
        if opened is not None:
            self._operations.pace(opened.operation, gaps, total)

    def _start(self, started: Started) -> None:
        opened = self._open[started.interception] = Open(
            at=started.at,
            provider=started.provider_name,
            model=started.model,
            route=_route(started.request_path),
            client=started.client,
            actor=(started.initiator,) if self._by_actor else (),
            operation=self._operations.begin(started),
        )
        self._metrics.add(Metric.INTERCEPTIONS_INFLIGHT, 1.0, (opened.provider, opened.model, opened.route))

    def _count(self, opened: Open, record: Record) -> None:
        add, provider, model = self._metrics.add, opened.provider, opened.model
        match record:
            case Forwarded():
                opened.operation.forwarded_at = record.at
            case Tokens():
                for kind, count in _tokens(record):
                    add(Metric.TOKENS_TOTAL, count, (provider, model, kind, opened.client, *opened.actor))
                self._operations.usage(opened.operation, record)
            case Prompt():
                add(Metric.PROMPTS_TOTAL, 1.0, (provider, model, opened.client, *opened.actor))
            case Tool(injected=False):
                add(Metric.NON_INJECTED_TOOL_SELECTIONS_TOTAL, 1.0, (provider, model, record.name))
            case Ended():
                self._end(opened, record)

    def _end(self, opened: Open, ended: Ended) -> None:
        opened.has_ended = True
        metrics, provider, model = self._metrics, opened.provider, opened.model
        failure, route = ended.failure, opened.route
        status = "completed" if failure is None else "failed"
        whole = (provider, model, status, route, _METHODS.get(route, OTHER), opened.client, *opened.actor)
        metrics.add(Metric.INTERCEPTIONS_INFLIGHT, -1.0, (provider, model, route))
        metrics.add(Metric.INTERCEPTIONS_TOTAL, 1.0, whole)
        metrics.observe(Metric.INTERCEPTIONS_DURATION_SECONDS, max(0.0, ended.at - opened.at), (provider, model))
        if failure is not None:
            metrics.add(Metric.INTERCEPTION_FAILURES_TOTAL, 1.0, (provider, failure.type.value))
        self._operations.end(opened.operation, ended)


def _route(path: str) -> str:
    """Ours, never the client's: a masked path is none of ours."""
    return pattern(path.partition("?")[0].partition("/v1/")[2]) or OTHER


def _tokens(tokens: Tokens) -> Iterator[tuple[str, int]]:
    yield "input", tokens.input
    yield "output", tokens.output
    yield "cache_read_input_tokens", tokens.cache_read
    yield "cache_write_input_tokens", tokens.cache_write
    yield from tokens.extra.items()
