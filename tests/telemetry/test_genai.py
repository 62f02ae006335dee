import json

import pytest
from msgspec.structs import replace

from sidecar.core.records import Parameters
from sidecar.telemetry.traces.genai import genai, genai_next
from tests.telemetry.called import call
from tests.telemetry.interceptions import ANSWER, PROMPT, REQUEST, STARTED, THOUGHT, TOKENS, TOOL, USAGE


def test_a_call_is_told_by_the_conventions() -> None:
    assert genai(call()) == {**REQUEST, **ANSWER, **USAGE}


def test_the_next_conventions_have_another_name_for_what_the_cache_took() -> None:
    renamed = {name.replace("cache_creation", "cache_write"): value for name, value in USAGE.items()}
    assert genai_next(call()) == {**REQUEST, **ANSWER, **renamed}


def test_what_was_not_said_is_left_out() -> None:
    """The conventions want `stream` only when true, no empty model, no tier that is the usual one."""
    bare = replace(STARTED, model="", streaming=False, parameters=Parameters(service_tier="auto"))
    told = genai(call(started=bare, tokens=None))
    assert {name for name in told if "request" in name or "usage" in name} == set()
    assert told["gen_ai.operation.name"] == "chat"


def test_what_the_provider_did_not_count_is_left_out() -> None:
    assert "gen_ai.usage.reasoning.output_tokens" not in genai(call(tokens=replace(TOKENS, extra={})))


def test_the_sum_of_absurd_counts_still_fits_64_bits() -> None:
    """A count that OTLP cannot hold would cost the whole batch."""
    absurd = replace(TOKENS, input=2**63 - 1)
    assert genai(call(tokens=absurd))["gen_ai.usage.input_tokens"] == 2**63 - 1


@pytest.mark.parametrize("profile", [genai, genai_next])
def test_what_was_said_is_messages(profile: object) -> None:
    told = profile(call(said=(PROMPT, TOOL, THOUGHT), asks=True))  # type: ignore[operator]  # one of two functions
    assert json.loads(told["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "CANARY-prompt"}]}
    ]
    (answer,) = json.loads(told["gen_ai.output.messages"])
    assert answer["parts"] == [
        {"type": "tool_call", "id": "call_1", "name": "CANARY-tool", "arguments": {"path": "CANARY-input"}},
        {"type": "reasoning", "content": "CANARY-thought"},
    ]
    assert answer.get("finish_reason") == ("tool_call" if profile is genai else None)
