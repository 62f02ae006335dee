from collections.abc import Iterator, Sequence
from threading import Event
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sidecar.core.records import Record
from sidecar.telemetry.traces.spans import SpanTraces
from tests.telemetry.interceptions import (
    COMMON,
    ENDED,
    FORWARDED,
    LIMITED,
    PASSED,
    PROMPT,
    REFUSED,
    STARTED,
    THOUGHT,
    TOKENS,
    TOOL,
    T,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{CALLER}-01"
START_NS = 1_800_000_000_000_000_000

Groups = Sequence[tuple[Sequence[Record], float | None]]
WHOLE: Groups = (
    ([STARTED], T + 0.5),
    ([FORWARDED], None),
    ([PROMPT, TOKENS, TOOL, THOUGHT, ENDED], T + 4.5),
)


def play(groups: Groups, traceparent: str | None = None, tracestate: str | None = None) -> tuple[ReadableSpan, ...]:
    exporter = InMemorySpanExporter()
    traces = SpanTraces(exporter, Resource({}))
    trace = traces.begin(traceparent, tracestate)
    for records, committed_at in groups:
        if trace is not None:
            trace.observe(records, committed_at)
    traces.close(10)
    return exporter.get_finished_spans()


def parents(spans: Sequence[ReadableSpan]) -> dict[str, str | None]:
    """Each span's name, and its parent's (an id where the parent is not among them)."""
    names = {span.context.span_id: span.name for span in spans}
    return {
        span.name: names.get(span.parent.span_id, f"{span.parent.span_id:016x}") if span.parent else None
        for span in spans
    }


def test_the_tree_hangs_under_the_callers_span() -> None:
    """Envoy's: its own span for the call to us."""
    spans = play(WHOLE, SAMPLED)
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}
    assert parents(spans) == {
        "Intercept": CALLER,
        "Intercept.CreateInterceptor": "Intercept",
        "Intercept.RecordInterception": "Intercept",
        "Intercept.ProcessRequest": "Intercept",
        "Intercept.ProcessRequest.Upstream": "Intercept.ProcessRequest",
        "Intercept.RecordPromptUsage": "Intercept.ProcessRequest",
        "Intercept.RecordTokenUsage": "Intercept.ProcessRequest",
        "Intercept.RecordToolUsage": "Intercept.ProcessRequest",
        "Intercept.RecordModelThought": "Intercept.ProcessRequest",
        "Intercept.RecordInterceptionEnded": "Intercept",
    }


def test_spans_have_the_times_of_their_records_to_the_nanosecond() -> None:
    times = {span.name: (span.start_time - START_NS, span.end_time - START_NS) for span in play(WHOLE, SAMPLED)}
    assert times == {
        "Intercept": (0, 4_500_000_000),
        "Intercept.CreateInterceptor": (0, 250_000_000),
        "Intercept.RecordInterception": (250_000_000, 500_000_000),
        "Intercept.ProcessRequest": (500_000_000, 4_000_000_000),
        "Intercept.ProcessRequest.Upstream": (750_000_000, 4_000_000_000),
        "Intercept.RecordPromptUsage": (4_000_000_000, 4_500_000_000),
        "Intercept.RecordTokenUsage": (4_000_000_000, 4_500_000_000),
        "Intercept.RecordToolUsage": (4_000_000_000, 4_500_000_000),
        "Intercept.RecordModelThought": (4_000_000_000, 4_500_000_000),
        "Intercept.RecordInterceptionEnded": (4_000_000_000, 4_500_000_000),
    }


def test_only_upstream_is_a_client_span() -> None:
    """It alone calls somebody else."""
    kinds = {span.name: span.kind for span in play(WHOLE)}
    assert kinds.pop("Intercept.ProcessRequest.Upstream") is SpanKind.CLIENT
    assert set(kinds.values()) == {SpanKind.INTERNAL}


def test_every_span_of_an_interception_says_whose_it_is() -> None:
    assert all(COMMON.items() <= dict(span.attributes).items() for span in play(WHOLE))


def test_a_failure_is_a_status_with_its_message() -> None:
    spans = play([([STARTED], T + 0.5), ([FORWARDED], None), ([LIMITED], T + 2)])
    message = "the provider answered 429: rate_limit_exceeded"
    failed = {
        span.name: (span.status.status_code, span.status.description, span.attributes["error.type"])
        for span in spans
        if "error.type" in span.attributes
    }
    assert failed == {
        "Intercept": (StatusCode.ERROR, message, "rate_limited"),
        "Intercept.ProcessRequest": (StatusCode.ERROR, message, "rate_limited"),
        "Intercept.ProcessRequest.Upstream": (StatusCode.ERROR, message, "rate_limited"),
    }


def test_success_leaves_the_status_unset() -> None:
    """The status `Ok` is for those who look at a span and overrule it."""
    assert {span.status.status_code for span in play(WHOLE)} == {StatusCode.UNSET}


def test_a_refusal_is_a_tree_without_upstream() -> None:
    assert sorted(parents(play([([STARTED, REFUSED], T + 1)]))) == [
        "Intercept",
        "Intercept.CreateInterceptor",
        "Intercept.ProcessRequest",
        "Intercept.RecordInterception",
        "Intercept.RecordInterceptionEnded",
    ]


def test_a_passthrough_is_one_span() -> None:
    assert parents(play([([PASSED], None)], SAMPLED)) == {"Passthrough": CALLER}


def test_the_callers_tracestate_is_kept() -> None:
    assert {span.context.trace_state.to_header() for span in play(WHOLE, SAMPLED, "a=1,b=2")} == {"a=1,b=2"}


def test_what_the_caller_does_not_sample_is_not_traced() -> None:
    """Envoy decides, for all spans of a trace alike."""
    assert play(WHOLE, f"00-{TRACE}-{CALLER}-00") == ()
    assert play(WHOLE, f"01-{TRACE}-{CALLER}-00-more") == ()


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        "nonsense",
        f"00-{'0' * 32}-{CALLER}-00",
        f"00-{TRACE}-{'0' * 16}-00",
        f"ff-{TRACE}-{CALLER}-00",
        f"00-{TRACE.upper()}-{CALLER}-00",
        f"00-{TRACE}-{CALLER}-00-more",
        SAMPLED * 100,
    ],
)
def test_without_a_valid_caller_a_trace_of_its_own_begins(traceparent: str | None) -> None:
    spans = play(WHOLE, traceparent)
    assert len(spans) == 10
    assert parents(spans)["Intercept"] is None
    (trace_id,) = {f"{span.context.trace_id:032x}" for span in spans}
    assert trace_id != TRACE


def test_nothing_is_sent_before_the_end_is_known() -> None:
    """The spans' attributes and status are not known earlier."""
    assert play([([STARTED], T + 0.5), ([FORWARDED], None), ([TOKENS], T + 1)]) == ()


@pytest.fixture(scope="module")
def traces() -> Iterator[SpanTraces]:
    running = SpanTraces(InMemorySpanExporter(), Resource({}))
    yield running
    running.close(10)


RECORDS = st.sampled_from([STARTED, FORWARDED, PROMPT, TOKENS, TOOL, THOUGHT, ENDED, REFUSED, PASSED])


@given(
    traceparent=st.none() | st.text() | st.just(SAMPLED),
    tracestate=st.none() | st.text(),
    groups=st.lists(st.tuples(st.lists(RECORDS, max_size=6), st.none() | st.floats(0, 2**33)), max_size=4),
)
@settings(deadline=None)
def test_nothing_that_is_observed_raises(
    traces: SpanTraces, traceparent: str | None, tracestate: str | None, groups: Groups
) -> None:
    """A trace never harms the request that it is about."""
    trace = traces.begin(traceparent, tracestate)
    for records, committed_at in groups:
        trace.observe(records, committed_at)


class Stuck(SpanExporter):
    """Hangs until it is shut down, as an exporter does whose collector hangs."""

    def __init__(self) -> None:
        self.closed = Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 -- the SDK's name
        self.closed.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.closed.set()


def test_closing_is_bounded_and_gives_up_what_hangs() -> None:
    """The SDK would wait for 30 s."""
    exporter = Stuck()
    traces = SpanTraces(exporter, Resource({}))
    traces.begin(None).observe([STARTED, ENDED], T + 5)
    before = monotonic()
    traces.close(0.1)
    assert monotonic() - before < 10
    assert exporter.closed.is_set()


def test_closing_twice_is_closing_once() -> None:
    exporter = InMemorySpanExporter()
    traces = SpanTraces(exporter, Resource({}))
    traces.begin(None).observe([PASSED], None)
    traces.close(10)
    traces.close(10)
    traces.begin(None).observe([PASSED], None)
    assert [span.name for span in exporter.get_finished_spans()] == ["Passthrough"]
