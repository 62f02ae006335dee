"""A call to a provider in the words of OpenInference: the attributes of its LLM spans."""

from collections.abc import Iterator, Sequence

import msgspec

from sidecar.core.records import Prompt, Thought, Tokens, Tool
from sidecar.core.text import clamp
from sidecar.telemetry import semconv
from sidecar.telemetry.traces.attributes import Attributes, Value
from sidecar.telemetry.traces.calls import CLIENT_TOOLS, Call
from sidecar.telemetry.traces.content import MOST, message, plain

# A list becomes an attribute for each leaf, and beyond 128 attributes a span loses its first ones: who it was.
_MOST_CALLS = 16
_MOST_CONTENTS = 16

Pairs = Iterator[tuple[str, Value | None]]


def openinference(call: Call) -> Attributes:
    """By OpenInference's semantic conventions."""
    return {key: value for key, value in _pairs(call) if value is not None}


def _pairs(call: Call) -> Pairs:
    started = call.started
    yield semconv.LLM_KIND, "LLM"
    yield semconv.LLM_SYSTEM, started.provider
    yield semconv.LLM_PROVIDER, started.provider
    yield semconv.LLM_MODEL, call.model or started.model or None
    yield semconv.LLM_REQUEST_MODEL, started.model or None
    yield semconv.LLM_RESPONSE_MODEL, call.model
    yield semconv.LLM_PARAMETERS, _parameters(call)
    yield semconv.LLM_FINISH_REASON, call.finish_reason
    yield semconv.USER, started.initiator or None
    if call.tokens is not None:
        yield from _usage(call.tokens)
    yield from _asked([one for one in call.said if isinstance(one, Prompt)])
    yield from _answered([one for one in call.said if not isinstance(one, Prompt)])


def _parameters(call: Call) -> str:
    asked = call.started.parameters
    named = {
        "model": call.started.model or None,
        "stream": call.started.streaming or None,
        "max_output_tokens": asked.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "reasoning": {"effort": asked.reasoning_level} if asked.reasoning_level else None,
        "text": {"format": {"type": asked.output_type}} if asked.output_type else None,
        "service_tier": asked.service_tier,
        "conversation": asked.conversation,
        "previous_response_id": asked.previous_response,
    }
    return msgspec.json.encode({name: value for name, value in named.items() if value is not None}).decode()


def _usage(tokens: Tokens) -> Pairs:
    prompt = clamp(tokens.input + tokens.cache_read + tokens.cache_write)
    yield semconv.LLM_PROMPT_TOKENS, prompt
    yield semconv.LLM_COMPLETION_TOKENS, tokens.output
    yield semconv.LLM_TOTAL_TOKENS, tokens.extra.get("total_tokens") or clamp(prompt + tokens.output)
    yield semconv.LLM_CACHE_READ_TOKENS, tokens.cache_read
    yield semconv.LLM_CACHE_WRITE_TOKENS, tokens.cache_write
    yield semconv.LLM_REASONING_TOKENS, tokens.extra.get("output_reasoning")


def _asked(prompts: Sequence[Prompt]) -> Pairs:
    for one in prompts:  # there is one
        yield semconv.LLM_INPUT, plain(one.text)
        yield semconv.LLM_INPUT_TYPE, "text/plain"
        yield f"{semconv.LLM_INPUT_MESSAGE}.role", "user"
        yield f"{semconv.LLM_INPUT_MESSAGE}.content", plain(one.text)


def _answered(said: Sequence[Tool | Thought]) -> Pairs:
    if not said:
        return
    yield semconv.LLM_OUTPUT, message("assistant", said)
    yield semconv.LLM_OUTPUT_TYPE, "application/json"
    yield f"{semconv.LLM_OUTPUT_MESSAGE}.role", "assistant"
    thoughts = [one for one in said if isinstance(one, Thought)]
    tools = [one for one in said if isinstance(one, Tool) and one.kind in CLIENT_TOOLS]
    for index, thought in enumerate(thoughts[:_MOST_CONTENTS]):
        place = f"{semconv.LLM_OUTPUT_MESSAGE}.contents.{index}.message_content"
        yield f"{place}.type", "text" if thought.source == "commentary" else "reasoning"
        yield f"{place}.text", plain(thought.text, MOST // (_MOST_CONTENTS + _MOST_CALLS))
    for index, tool in enumerate(tools[:_MOST_CALLS]):
        place = f"{semconv.LLM_OUTPUT_MESSAGE}.tool_calls.{index}.tool_call"
        yield f"{place}.id", tool.tool_call_id
        yield f"{place}.function.name", tool.name
        yield f"{place}.function.arguments", plain(tool.input or "", MOST // (_MOST_CONTENTS + _MOST_CALLS))
