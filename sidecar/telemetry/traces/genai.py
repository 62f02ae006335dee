"""A call to a provider in the words of the OpenTelemetry GenAI conventions: an inference's client span."""

from collections.abc import Iterator

from sidecar.core.records import Prompt, Tokens
from sidecar.core.text import clamp
from sidecar.telemetry import semconv
from sidecar.telemetry.traces.attributes import Attributes, Value
from sidecar.telemetry.traces.calls import Call
from sidecar.telemetry.traces.content import message

# `text.format.type` (API reference: POST /v1/responses), in the conventions' words.
_OUTPUT_TYPES = {"json_schema": "json", "json_object": "json"}
# The conventions name a tool's call in a message otherwise than the provider does.
_IN_MESSAGES = {"tool_calls": "tool_call"}

Pairs = Iterator[tuple[str, Value | None]]


def genai(call: Call) -> Attributes:
    """By semantic-conventions 1.41."""
    return {key: value for key, value in _pairs(call, semconv.CACHE_CREATION_TOKENS) if value is not None} | _said(
        call, _IN_MESSAGES.get(call.finish_reason or "", call.finish_reason)
    )


def genai_next(call: Call) -> Attributes:
    """By the conventions' own repository, where a message no longer says why it ended."""
    return {key: value for key, value in _pairs(call, semconv.CACHE_WRITE_TOKENS) if value is not None} | _said(call)


def _pairs(call: Call, cache_write: str) -> Pairs:
    yield from _request(call)
    yield from _answer(call)
    if call.tokens is not None:
        yield from _usage(call.tokens, cache_write)


def _request(call: Call) -> Pairs:
    started, asked = call.started, call.started.parameters
    yield semconv.OPERATION, "chat"
    yield semconv.PROVIDER, started.provider
    yield semconv.API_TYPE, "responses"
    yield semconv.REQUEST_MODEL, started.model or None
    yield semconv.REQUEST_STREAM, started.streaming or None  # only when true
    yield semconv.CONVERSATION, asked.conversation
    yield semconv.PREVIOUS_RESPONSE, asked.previous_response
    yield semconv.REASONING_LEVEL, asked.reasoning_level
    yield semconv.MAX_TOKENS, asked.max_tokens
    yield semconv.TEMPERATURE, asked.temperature
    yield semconv.TOP_P, asked.top_p
    yield semconv.OUTPUT_TYPE, _OUTPUT_TYPES.get(asked.output_type or "", asked.output_type)
    yield semconv.REQUEST_TIER, None if asked.service_tier == "auto" else asked.service_tier


def _answer(call: Call) -> Pairs:
    yield semconv.RESPONSE_ID, call.response or None
    yield semconv.RESPONSE_MODEL, call.model
    yield semconv.RESPONSE_TIER, call.service_tier
    yield semconv.FINISH_REASONS, (call.finish_reason,) if call.finish_reason else None
    yield semconv.FIRST_CHUNK, call.first_chunk


def _usage(tokens: Tokens, cache_write: str) -> Pairs:
    # The convention's count includes what the cache gave and took; the record's does not.
    yield semconv.INPUT_TOKENS, clamp(tokens.input + tokens.cache_read + tokens.cache_write)
    yield semconv.OUTPUT_TOKENS, tokens.output
    yield semconv.CACHE_READ_TOKENS, tokens.cache_read
    yield cache_write, tokens.cache_write
    yield semconv.REASONING_TOKENS, tokens.extra.get("output_reasoning")


def _said(call: Call, finish_reason: str | None = None) -> dict[str, Value]:
    prompts = [one for one in call.said if isinstance(one, Prompt)]
    answers = [one for one in call.said if not isinstance(one, Prompt)]
    said: dict[str, Value] = {}
    if prompts:
        said[semconv.INPUT_MESSAGES] = message("user", prompts)
    if answers:
        said[semconv.OUTPUT_MESSAGES] = message("assistant", answers, finish_reason)
    return said
