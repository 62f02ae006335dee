import pytest
from msgspec.structs import replace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from examples.otlp_receiver import Receiver
from sidecar.settings import Telemetry
from sidecar.telemetry.traces.messages import MOST
from sidecar.telemetry.traces.otlp import Exporter
from sidecar.telemetry.traces.spans import SpanTraces
from sidecar.telemetry.transports import Outcome, transport
from tests.telemetry.interceptions import PASSED, T
from tests.telemetry.stuck import Dropped

DELIVERED, UNAVAILABLE, REFUSED = Outcome.DELIVERED, Outcome.UNAVAILABLE, Outcome.REFUSED
AT_ONCE = (0.0, 0.0, 0.0)


class Scripted:
    """A transport that answers from a list."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.closed = 0

    def send(self, payload: bytes) -> Outcome:
        assert payload
        return self.outcomes.pop(0)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def spans() -> tuple[ReadableSpan, ...]:
    memory = InMemorySpanExporter()
    traces = SpanTraces(memory, Resource({}))
    traces.begin(None).observe([PASSED], T)
    traces.close(10)
    return memory.get_finished_spans()


@pytest.mark.parametrize(
    ("outcomes", "result"),
    [
        ([DELIVERED], SpanExportResult.SUCCESS),
        ([UNAVAILABLE, UNAVAILABLE, DELIVERED], SpanExportResult.SUCCESS),
        ([UNAVAILABLE, UNAVAILABLE, UNAVAILABLE], SpanExportResult.FAILURE),
        ([REFUSED], SpanExportResult.FAILURE),
        ([UNAVAILABLE, REFUSED], SpanExportResult.FAILURE),
    ],
)
def test_it_tries_again_where_that_can_help(
    spans: tuple[ReadableSpan, ...], outcomes: list[Outcome], result: SpanExportResult
) -> None:
    way = Scripted(*outcomes)
    assert Exporter(way, AT_ONCE).export(spans) is result
    assert way.outcomes == []


def test_an_outage_is_told_when_it_begins_and_when_it_ends(spans: tuple[ReadableSpan, ...]) -> None:
    """Not for each batch, and without what the collector answered."""
    outage = Exporter(Scripted(DELIVERED, REFUSED, REFUSED, REFUSED, DELIVERED, DELIVERED), AT_ONCE)
    with capture_logs() as logged:
        for _ in range(6):
            outage.export(spans)
    assert [line["event"] for line in logged] == [
        "telemetry.otlp_endpoint takes no spans; they are dropped until it does",
        "telemetry.otlp_endpoint takes spans again",
    ]


@pytest.mark.parametrize(
    ("outcomes", "lost"),
    [([DELIVERED, DELIVERED], 0), ([DELIVERED, REFUSED], 2), ([REFUSED], 4), ([UNAVAILABLE] * 3, 4)],
)
def test_spans_that_did_not_arrive_are_counted(outcomes: list[Outcome], lost: int) -> None:
    """Those of the message that failed and of what would have followed it, not those that had arrived."""
    memory = InMemorySpanExporter()
    traces = SpanTraces(memory, Resource({}))
    for _ in range(4):
        traces.begin(None).observe([replace(PASSED, url="x" * (MOST // 2 - 10_000))], T)
    traces.close(10)
    dropped = Dropped()
    Exporter(Scripted(*outcomes), AT_ONCE, dropped).export(memory.get_finished_spans())
    assert dropped.by == ({"export_failed": lost} if lost else {})


def test_after_shutdown_nothing_is_sent(spans: tuple[ReadableSpan, ...]) -> None:
    way = Scripted()
    closed = Exporter(way)
    closed.shutdown()
    closed.shutdown()
    assert closed.export(spans) is SpanExportResult.FAILURE
    assert way.closed == 2


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_nothing_connects_before_there_is_something_to_send(protocol: str) -> None:
    """So that a wrong or absent collector never keeps a worker from starting."""
    transport(Telemetry(otlp_endpoint="http://collector.invalid:4317", otlp_protocol=protocol)).close()


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_over_http_an_endpoint_is_a_base_or_the_whole_url(path: str) -> None:
    """OTLP specification, "OTLP/HTTP Request"."""
    with Receiver() as receiver:
        way = transport(Telemetry(otlp_endpoint=receiver.http_endpoint + path, otlp_protocol="http"))
        assert way.send(b"") is DELIVERED
