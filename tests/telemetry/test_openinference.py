import json

from msgspec.structs import replace

from sidecar.core.records import Parameters
from sidecar.telemetry.traces.openinference import openinference
from tests.telemetry.called import call
from tests.telemetry.interceptions import PROMPT, STARTED, THOUGHT, TOKENS, TOOL

USAGE = {
    "llm.token_count.prompt": 142,
    "llm.token_count.completion": 30,
    "llm.token_count.total": 172,
    "llm.token_count.prompt_details.cache_read": 40,
    "llm.token_count.prompt_details.cache_write": 2,
    "llm.token_count.completion_details.reasoning": 10,
}


def test_a_call_is_told_in_openinferences_words() -> None:
    told = dict(openinference(call()))
    assert json.loads(str(told.pop("llm.invocation_parameters"))) == {
        "model": "gpt-5",
        "stream": True,
        "max_output_tokens": 500,
        "temperature": 0.5,
        "top_p": 1.0,
        "reasoning": {"effort": "high"},
        "text": {"format": {"type": "json_schema"}},
        "service_tier": "flex",
        "conversation": "conv_1",
        "previous_response_id": "resp_0",
    }
    assert told == {
        "openinference.span.kind": "LLM",
        "llm.system": "openai",
        "llm.provider": "openai",
        "llm.model_name": "gpt-5-2026-10-01",
        "llm.request.model_name": "gpt-5",
        "llm.response.model_name": "gpt-5-2026-10-01",
        "llm.finish_reason": "stop",
        "user.id": "alice",
        **USAGE,
    }


def test_what_was_not_said_is_left_out() -> None:
    told = openinference(call(started=replace(STARTED, parameters=Parameters()), tokens=None))
    assert json.loads(str(told["llm.invocation_parameters"])) == {"model": "gpt-5", "stream": True}
    assert not USAGE.keys() & told.keys()


def test_a_total_that_was_not_counted_is_the_sum() -> None:
    assert openinference(call(tokens=replace(TOKENS, extra={})))["llm.token_count.total"] == 172


def test_what_was_said_is_there_leaf_by_leaf() -> None:
    told = openinference(call(said=(PROMPT, TOOL, THOUGHT)))
    message = "llm.output_messages.0.message"
    found = {name.removeprefix(message): value for name, value in told.items() if name.startswith(message)}
    assert (told["input.value"], told["llm.input_messages.0.message.content"]) == ("CANARY-prompt", "CANARY-prompt")
    assert found == {
        ".role": "assistant",
        ".contents.0.message_content.type": "reasoning",
        ".contents.0.message_content.text": "CANARY-thought",
        ".tool_calls.0.tool_call.id": "call_1",
        ".tool_calls.0.tool_call.function.name": "CANARY-tool",
        ".tool_calls.0.tool_call.function.arguments": '{"path":"CANARY-input"}',
    }


def test_however_much_was_said_a_span_keeps_all_its_attributes() -> None:
    """The SDK's limit is 128, and it drops the first ones."""
    said = (PROMPT, *[replace(TOOL, input="x" * 100_000)] * 100, *[replace(THOUGHT, text="y" * 100_000)] * 100)
    told = openinference(call(said=said))
    assert len(told) < 120
    assert sum(len(str(value).encode()) for value in told.values()) < 4 * 65_536
