"""What is counted and measured: one table, and the null object for when nobody looks.

    worker, keeper ── Metrics, in memory ──▶ files in `<runtime_dir>/metrics/` ──▶ the parent adds them up
                                                                            scrapes: for Prometheus ◀──┤
                                                             pushes, the keeper's: for a collector ◀──┘

Nothing here knows Prometheus. What clients and models say gets into a label only through `labels.Labels`.
"""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol

from sidecar.settings import Settings
from sidecar.telemetry import semconv

Kind = Literal["counter", "gauge", "histogram"]

PREFIX = "aibridge_"
ACTOR = "actor"  # a label only where `telemetry.actor_label` says so
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_PHASES = (0.000025, 0.00005, 0.0001, 0.00025, *_SECONDS)
_INTERCEPTIONS = (0.5, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0)
# The GenAI conventions' own advice.
_OPERATIONS = tuple(0.01 * 2**power for power in range(14))
_TOKENS = tuple(float(4**power) for power in range(14))
_OPERATION = (
    semconv.OPERATION,
    semconv.PROVIDER,
    semconv.REQUEST_MODEL,
    semconv.RESPONSE_MODEL,
    semconv.SERVER_ADDRESS,
    semconv.SERVER_PORT,
)


def _usage(text: str, name: str) -> tuple[str, str, tuple[str, ...], tuple[float, ...], str]:
    return "counter", text, (*_OPERATION, "gen_ai.token.modality"), (), f"gen_ai.client.inference.usage.{name}"


class Metric(Enum):
    """All there are: kind, help with the unit, labels, buckets' upper bounds, and the convention's name if it has one.

    Over all processes they are added up. A label `actor` stands last, for it may be left out.
    """

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is Python, and this is looked up per request

    INTERCEPTIONS_TOTAL = (
        "counter",
        "Interceptions that ended, by how they did.",
        ("provider", "model", "status", "route", "method", "client", ACTOR),
    )
    INTERCEPTIONS_INFLIGHT = "gauge", "Interceptions under way.", ("provider", "model", "route")
    INTERCEPTIONS_DURATION_SECONDS = (
        "histogram",
        "From an interception's request headers to its end, in seconds.",
        ("provider", "model"),
        _INTERCEPTIONS,
    )
    INTERCEPTION_FAILURES_TOTAL = "counter", "Interceptions that failed, by why.", ("provider", "error_type")
    PASSTHROUGH_TOTAL = "counter", "Requests that passed without being recorded.", ("provider", "route", "method")
    PROMPTS_TOTAL = "counter", "User prompts recorded.", ("provider", "model", "client", ACTOR)
    TOKENS_TOTAL = "counter", "Tokens, as the provider counted them.", ("provider", "model", "type", "client", ACTOR)
    NON_INJECTED_TOOL_SELECTIONS_TOTAL = (
        "counter",
        "Calls, by a model, of a tool that its client offered.",
        ("provider", "model", "name"),
    )

    OPERATION_DURATION = (
        "histogram",
        "From the verdict on a request to its response's end, in seconds.",
        (*_OPERATION, semconv.ERROR_TYPE),
        _OPERATIONS,
        "gen_ai.client.operation.duration",
    )
    TOKEN_USAGE = (
        "histogram",
        "Tokens of one response, as the provider counted them.",
        (*_OPERATION, "gen_ai.token.type"),
        _TOKENS,
        "gen_ai.client.token.usage",
    )
    TIME_TO_FIRST_CHUNK = (
        "histogram",
        "From the verdict on a request to a streamed response's first chunk, in seconds.",
        _OPERATION,
        _OPERATIONS,
        "gen_ai.client.operation.time_to_first_chunk",
    )
    TIME_PER_OUTPUT_CHUNK = (
        "histogram",
        "From one chunk of a streamed response to the next, in seconds.",
        _OPERATION,
        _OPERATIONS,
        "gen_ai.client.operation.time_per_output_chunk",
    )

    INFERENCE_DURATION = (
        "histogram",
        "From the verdict on a request to its response's end, in seconds.",
        (*_OPERATION, semconv.ERROR_TYPE),
        _OPERATIONS,
        "gen_ai.client.inference.duration",
    )
    INFERENCE_TIME_TO_FIRST_CHUNK = (
        "histogram",
        "From the verdict on a request to a streamed response's first chunk, in seconds.",
        _OPERATION,
        _OPERATIONS,
        "gen_ai.client.inference.time_to_first_chunk",
    )
    INFERENCE_TIME_PER_OUTPUT_CHUNK = (
        "histogram",
        "From one chunk of a streamed response to the next, in seconds.",
        _OPERATION,
        _OPERATIONS,
        "gen_ai.client.inference.time_per_output_chunk",
    )
    INFERENCE_INPUT_TOKENS = (
        "histogram",
        "Input tokens of one response, cached ones included.",
        _OPERATION,
        _TOKENS,
        "gen_ai.client.inference.operation.input_tokens",
    )
    INFERENCE_OUTPUT_TOKENS = (
        "histogram",
        "Output tokens of one response, reasoning included.",
        _OPERATION,
        _TOKENS,
        "gen_ai.client.inference.operation.output_tokens",
    )
    USAGE_INPUT_TOKENS_TOTAL = _usage("Input tokens, cached ones included.", "input_tokens")
    USAGE_OUTPUT_TOKENS_TOTAL = _usage("Output tokens, reasoning included.", "output_tokens")
    USAGE_CACHE_READ_TOKENS_TOTAL = _usage("Input tokens read from a cache.", "cache_read.input_tokens")
    USAGE_CACHE_WRITE_TOKENS_TOTAL = _usage("Input tokens written to a cache.", "cache_write.input_tokens")
    USAGE_REASONING_TOKENS_TOTAL = _usage("Output tokens spent on reasoning.", "reasoning.output_tokens")

    UNIDENTIFIED_TOTAL = "counter", "Requests refused because nobody was named, or believed, to be asking."

    WORKERS = "gauge", "Workers that serve."
    WORKER_STARTS_TOTAL = "counter", "Starts of workers, the first ones and those of their successors."
    PHASE_SECONDS = (
        "histogram",
        "From reading one of Envoy's messages to the last reply's being written, in seconds.",
        ("phase",),
        _PHASES,
    )
    RESPONSES_LET_GO_TOTAL = "counter", "Responses that clients got to their end before their records were durable."
    RESPONSES_CUT_TOTAL = "counter", "Responses that were cut before their end, rather than let go unrecorded."
    JOURNAL_PENDING_RECORDS = "gauge", "Records that are not yet durable."
    JOURNAL_PENDING_BYTES = "gauge", "Memory, in bytes, of records that are not yet durable."
    JOURNAL_COMMITS_TOTAL = "counter", "Transactions that made records durable."
    JOURNAL_COMMIT_SECONDS = (
        "histogram",
        "Time to make a batch of records durable, tries included, in seconds.",
        (),
        _SECONDS,
    )
    JOURNAL_STALLS_TOTAL = "counter", "Times that the journal's file could not be written and was tried again."
    JOURNAL_BYTES = "gauge", "What the journal's file holds, in bytes."
    UNFORWARDED_INTERCEPTIONS = "gauge", "Interceptions in the journal that their store has not yet acknowledged."
    UNFORWARDED_OLDEST_SECONDS = "gauge", "Age, in seconds, of the oldest interception that is not yet forwarded."
    FORWARDED_INTERCEPTIONS_TOTAL = "counter", "Interceptions that their store has acknowledged."
    FORWARD_FAILURES_TOTAL = "counter", "Batches that could not be forwarded and were kept for another try."
    JOURNAL_DROPPED_INTERCEPTIONS_TOTAL = "counter", "Interceptions dropped from a full journal, never forwarded."
    RECORDS_UNFIT_TOTAL = "counter", "Records that no database could hold."
    OPEN_STREAMS = "gauge", "Requests under way, each an ext_proc stream."
    HELD_BYTES = "gauge", "Room that request bodies under way take, in bytes."
    SPANS_DROPPED_TOTAL = "counter", "Spans that did not reach their collector, by why.", ("reason",)
    METRIC_PUSH_FAILURES_TOTAL = "counter", "Pushes of metrics that did not reach their collector."

    def __init__(
        self,
        kind: Kind,
        text: str,
        labels: tuple[str, ...] = (),
        buckets: tuple[float, ...] = (),
        convention: str = "",
    ) -> None:
        self.kind = kind
        self.text = text
        self.labels = labels
        self.buckets = buckets
        self.convention = convention

    @property
    def unit(self) -> str:
        """By UCUM, as OTLP has it; empty for what is merely counted."""
        if "in seconds" in self.text:
            return "s"
        if "in bytes" in self.text:
            return "By"
        return "{token}" if self.convention else ""

    @property
    def full_name(self) -> str:
        """As Prometheus has it: a convention's name by the rules for OpenTelemetry in Prometheus."""
        if not self.convention:
            return PREFIX + self.name.lower()
        suffix = {"s": "_seconds"}.get(self.unit, "") + ("_total" if self.kind == "counter" else "")
        return plain(self.convention) + suffix

    @property
    def otlp_name(self) -> str:
        """As OTLP has it."""
        return self.convention or self.full_name


def plain(name: str) -> str:
    """A convention's name as Prometheus has it."""
    return name.replace(".", "_")


class Metrics(Protocol):
    """What one process counts and measures. None of these raises or waits for anything; any thread may call them.

    `labels`: the values for `Metric.labels`, in their order, whatever they say: who keeps them makes them fit.
    """

    def add(self, metric: Metric, amount: float = 1.0, labels: Sequence[str] = ()) -> None:
        """Count so many more; a gauge with labels can also go down."""

    def set(self, metric: Metric, value: float) -> None:
        """Have a gauge at `value`; until the first call, this process does not show it at all."""

    def observe(self, metric: Metric, value: float, labels: Sequence[str] = ()) -> None:
        """Put one more value into a histogram."""

    def pour(self, metric: Metric, counts: Sequence[int], total: float, labels: Sequence[str]) -> None:
        """Put many values into a histogram: so many in each bucket, the last of which has no bound; `total`: all."""

    def close(self) -> None:
        """Bring the last values to their file, if the disk takes them at once."""


class NoMetrics:
    """Metrics are off."""

    __slots__ = ()

    def add(self, metric: Metric, amount: float = 1.0, labels: Sequence[str] = ()) -> None:
        """Nothing."""

    def set(self, metric: Metric, value: float) -> None:
        """Nothing."""

    def observe(self, metric: Metric, value: float, labels: Sequence[str] = ()) -> None:
        """Nothing."""

    def pour(self, metric: Metric, counts: Sequence[int], total: float, labels: Sequence[str]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def folder(settings: Settings) -> Path:
    """Where the processes of a bridge leave their values."""
    return settings.runtime_dir / "metrics"
