from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from examples.otlp_receiver import Span, decode
from sidecar.telemetry.traces.messages import encode
from sidecar.telemetry.traces.spans import SpanTraces
from tests.telemetry.interceptions import COMMON, ENDED, FORWARDED, LIMITED, PASSED, STARTED, T

CALLER = "b7ad6b7169203331"
SAMPLED = f"00-0af7651916cd43dd8448eb211c80319c-{CALLER}-01"


def decoded(*records: object) -> tuple[Span, ...]:
    exporter = InMemorySpanExporter()
    traces = SpanTraces(
        exporter, Resource({"service.name": "aibridge-sidecar", "cores": 2, "cloud": False, "load": 0.5})
    )
    traces.begin(SAMPLED, "a=1").observe(records, T + 5)
    traces.close(10)
    return tuple(span for message in encode(exporter.get_finished_spans()) for span in decode(message.body))


def test_a_span_arrives_with_all_that_it_had() -> None:
    (span,) = decoded(PASSED)
    assert span == Span(
        name="Passthrough",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id=span.span_id,
        parent_id=CALLER,
        start=1_800_000_000_000_000_000,
        end=1_800_000_000_500_000_000,
        kind="INTERNAL",
        attributes={
            "passthrough_url": "/openai-eu/v1/models",
            "passthrough_method": "GET",
            "passthrough_upstream_url": "https://api.openai.com/v1/models",
            "user_id": "alice",
            "provider": "openai-eu",
            "http.response.status_code": 200,
        },
        error=None,
        resource={"service.name": "aibridge-sidecar", "cores": 2, "cloud": False, "load": 0.5},
    )


def test_a_failure_arrives_as_an_error_with_its_message() -> None:
    errors = {span.name: span.error for span in decoded(STARTED, LIMITED)}
    assert errors["Intercept"] == "the provider answered 429: rate_limit_exceeded"
    assert errors["Intercept.CreateInterceptor"] is None


def test_children_name_their_parent() -> None:
    spans = {span.name: span for span in decoded(STARTED, ENDED)}
    assert spans["Intercept.ProcessRequest"].parent_id == spans["Intercept"].span_id
    assert spans["Intercept.ProcessRequest"].attributes == COMMON


def test_what_is_more_than_a_collector_takes_goes_in_several_messages() -> None:
    """Its gRPC takes 4 MiB; a message that is too long would cost all its spans."""
    exporter = InMemorySpanExporter()
    traces = SpanTraces(exporter, Resource({"service.name": "aibridge-sidecar"}))
    for _ in range(8):
        traces.begin(SAMPLED).observe([STARTED, ENDED], T + 5)
    traces.close(10)
    spans = exporter.get_finished_spans()
    (longest,) = (message.body for message in encode(spans[:1], 1))
    messages = list(encode(spans, 4 * len(longest)))
    bodies = [message.body for message in messages]
    assert len(bodies) > 4
    assert all(len(body) < 8 * len(longest) for body in bodies)
    assert [message.spans for message in messages] == [len(list(decode(body))) for body in bodies]
    arrived = [span.span_id for body in bodies for span in decode(body)]
    assert arrived == [f"{span.context.span_id:016x}" for span in spans]


def test_fractions_and_lists_arrive_as_they_are() -> None:
    upstream = next(span for span in decoded(STARTED, FORWARDED, ENDED) if span.kind == "CLIENT")
    assert upstream.attributes["gen_ai.request.temperature"] == 0.5
    assert upstream.attributes["gen_ai.response.finish_reasons"] == ("stop",)
