"""The same responses read here and by the `openai` package's typed models, which clients read them with."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from examples.events import USUAL, events
from sidecar.core.records import Thought, Tokens, Tool
from sidecar.core.responses import Answer

Object = dict[str, Any]

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAME = st.text("abc_-1", min_size=1, max_size=8)
COUNT = st.integers(0, 10**9)
ARGUMENTS = TEXT | st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
).map(json.dumps)
SAID = st.fixed_dictionaries({"type": st.just("output_text"), "text": TEXT, "annotations": st.just([])})
REFUSAL = st.fixed_dictionaries({"type": st.just("refusal"), "refusal": TEXT})


def items(kind: str, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries({"type": st.just(kind), "id": NAME, "status": st.just("completed"), **members})


OUTPUT = st.lists(
    items("function_call", call_id=NAME, name=NAME, arguments=ARGUMENTS)
    | items("custom_tool_call", call_id=NAME, name=NAME, input=TEXT)
    | items(
        "reasoning", summary=st.lists(st.builds(lambda text: {"type": "summary_text", "text": text}, TEXT), max_size=3)
    )
    | items(
        "message",
        role=st.just("assistant"),
        phase=st.sampled_from(["commentary", "final_answer", None]),
        content=st.lists(SAID | REFUSAL, max_size=3),
    )
    | items("web_search_call", action=st.just({"type": "search", "query": "q"})),
    max_size=5,
)
USAGE = st.fixed_dictionaries(
    {
        "input_tokens": COUNT,
        "input_tokens_details": st.fixed_dictionaries({"cached_tokens": COUNT, "cache_write_tokens": COUNT}),
        "output_tokens": COUNT,
        "output_tokens_details": st.fixed_dictionaries({"reasoning_tokens": COUNT}),
        "total_tokens": COUNT,
    }
)
RESPONSES = st.fixed_dictionaries(
    {
        **{name: st.just(value) for name, value in USUAL.items()},
        "id": NAME,
        "model": NAME,
        "status": st.sampled_from(["completed", "incomplete"]),
        "service_tier": st.sampled_from(["default", "flex", "priority", None]),
        "usage": st.none() | USAGE,
        "output": OUTPUT,
    }
)


def typed_tokens(typed: Response) -> list[Object]:
    if typed.usage is None:
        return []
    sent = typed.usage.input_tokens_details
    return [
        {
            "input": max(0, typed.usage.input_tokens - sent.cached_tokens - sent.cache_write_tokens),
            "output": typed.usage.output_tokens,
            "cache_read": sent.cached_tokens,
            "cache_write": sent.cache_write_tokens,
            "extra": {
                "input_cached": sent.cached_tokens,
                "output_reasoning": typed.usage.output_tokens_details.reasoning_tokens,
                "total_tokens": typed.usage.total_tokens,
            },
            "provider_model": typed.model,
            "service_tier": typed.service_tier,
        }
    ]


def typed_findings(typed: Response) -> Iterator[Object]:
    for item in typed.output:
        match item.type:
            case "function_call":
                names = {"kind": item.type, "name": item.name, "tool_call_id": item.call_id, "item_id": item.id}
                yield {**names, "input": arguments(item.arguments.strip())}
            case "custom_tool_call":
                names = {"kind": item.type, "name": item.name, "tool_call_id": item.call_id, "item_id": item.id}
                yield {**names, "input": item.input}
            case "web_search_call":
                yield {"kind": item.type, "name": item.type, "tool_call_id": None, "item_id": item.id, "input": None}
            case "reasoning":
                yield from ({"source": "reasoning_summary", "text": part.text} for part in item.summary if part.text)
            case "message" if item.phase == "commentary":
                said = [part.text for part in item.content if part.type == "output_text"]
                yield from ({"source": "commentary", "text": text} for text in said if text)


def arguments(text: str) -> object:
    try:
        return json.loads(text, parse_constant=int)  # which fails
    except ValueError:
        return text


def told(record: Tokens | Tool | Thought) -> Object:
    """A record as the typed models could tell it: without what they do not know, a tool's input as its value."""
    values = {name: getattr(record, name) for name in type(record).__slots__}
    left_out = ("interception", "at", "msg_id", "server_url", "injected", "invocation_error")
    known = {name: value for name, value in values.items() if name not in left_out}
    return known | ({"input": json.loads(record.input)} if isinstance(record, Tool) and record.input else {})


@given(response=RESPONSES)
def test_what_is_found_is_what_the_typed_models_find(response: Object) -> None:
    """In a document, and in the stream that ends with it."""
    typed = Response.model_validate(response)
    whole, streamed = (
        Answer(interception="i", recorded_bytes=10**6, is_credential="sk_secret".__eq__) for _ in range(2)
    )
    whole.document(json.dumps(response).encode(), 1.0)
    for event in events(response):
        streamed.event(json.dumps(event).encode(), 1.0)
    for answer in (whole, streamed):
        assert (answer.id, answer.failure, answer.ended) == (typed.id, None, True)
        assert [told(record) for record in answer.records()] == [*typed_tokens(typed), *typed_findings(typed)]
