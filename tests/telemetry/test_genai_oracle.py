"""Our span of a call against the one that OpenTelemetry's library for instrumentations makes of the same exchange."""

from msgspec.structs import replace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.types import Error

from sidecar.core.records import ErrorType, Failure
from sidecar.telemetry.traces.attributes import Server, error, server
from sidecar.telemetry.traces.genai import genai_next
from tests.telemetry.called import call
from tests.telemetry.interceptions import ENDED

# Said by us alone: the library leaves them to whoever instruments one provider's SDK.
OURS = {"openai.api.type", "openai.request.service_tier", "openai.response.service_tier"}


def theirs(failure: str | None = None) -> dict[str, object]:
    """The attributes of the library's span, for the exchange of `interceptions`."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handler = TelemetryHandler(tracer_provider=provider)
    invocation = handler.inference(
        "openai", request_model="gpt-5", server_address="api.openai.com", server_port=443, conversation_id="conv_1"
    )
    data = invocation.data
    data.request_stream = True
    data.request_reasoning_level = "high"
    data.request_previous_response_id = "resp_0"
    data.request_max_tokens = 500
    data.request_temperature = 0.5
    data.request_top_p = 1.0
    data.output_type = "json"
    data.response_id = "resp_1"
    data.response_model = "gpt-5-2026-10-01"
    data.response_time_to_first_chunk = 0.5
    data.usage_input_tokens = 142
    data.usage_output_tokens = 30
    data.usage_cache_read_input_tokens = 40
    data.usage_cache_write_input_tokens = 2
    data.usage_reasoning_output_tokens = 10
    data.response_finish_reasons = ["error" if failure else "stop"]
    if failure:
        invocation.fail(Error(message="cut", type=failure))
    else:
        invocation.stop()
    (span,) = exporter.get_finished_spans()
    return dict(span.attributes or {})


def test_a_call_is_told_as_the_library_tells_it() -> None:
    ours = {**server(Server("api.openai.com", 443)), **genai_next(call())}
    assert {name: value for name, value in ours.items() if name not in OURS} == theirs()
    assert ours.keys() - theirs().keys() == OURS


def test_a_failure_is_told_as_the_library_tells_it() -> None:
    failure = Failure(type=ErrorType.DISCONNECTED, message="cut")
    failed = call(ended=replace(ENDED, failure=failure))
    ours = {**server(Server("api.openai.com", 443)), **error(failure), **genai_next(failed)}
    assert {name: value for name, value in ours.items() if name not in OURS} == theirs("disconnected")
