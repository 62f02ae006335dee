"""The events that a Responses API stream is made of, from the response object that it ends with.

Source: the API reference, "Streaming events" (https://platform.openai.com/docs/api-reference/responses-streaming).
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

Object = dict[str, Any]

# What a response object says where nobody asked for anything else.
USUAL: Object = {
    "object": "response",
    "created_at": 1767225600,
    "status": "completed",
    "background": False,
    "completed_at": 1767225602,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}
TERMINAL = frozenset({"completed", "incomplete", "failed"})
UNFINISHED: Object = {
    "status": "in_progress",
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "output": [],
    "usage": None,
}
# What an item announces of its own progress, as `response.<type>.<stage>`.
STAGES = {
    "web_search_call": ("in_progress", "searching", "completed"),
    "file_search_call": ("in_progress", "searching", "completed"),
    "image_generation_call": ("in_progress", "generating", "completed"),
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
    "mcp_call": ("in_progress", "completed"),
}
# The text that an item grows by deltas: its field, and the events' name.
GROWING = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
    "mcp_call": ("arguments", "response.mcp_call_arguments"),
    "code_interpreter_call": ("code", "response.code_interpreter_call_code"),
}
LONE = re.compile("[\ud800-\udfff]")


def events(response: Object, words: int = 3) -> Iterator[Object]:
    """Every event of the stream that ends with `response`, in order; each delta carries up to `words` words."""
    numbers = count()
    for event in _unnumbered(response, words):
        yield {**event, "sequence_number": next(numbers)}


def sse(event: Object, *, ascii_only: bool = False) -> bytes:
    """One event as the API sends it: named by its type, its data on one line."""
    return b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), text(event, ascii_only=ascii_only))


def text(value: object, *, ascii_only: bool = False, indent: int | None = None) -> bytes:
    """JSON in UTF-8; what UTF-8 cannot hold (lone surrogates) stays escaped, and everything else where `ascii_only`."""
    separators = (",", ": ") if indent else (",", ":")
    encoded = json.dumps(value, ensure_ascii=ascii_only, separators=separators, indent=indent)
    return LONE.sub(lambda lone: f"\\u{ord(lone[0]):04x}", encoded).encode()


def deltas(whole: str, words: int) -> Iterable[str]:
    """`whole` in pieces of up to `words` words, white space included; none for nothing."""
    return re.findall(rf"(?:\s*\S+){{1,{words}}}\s*|\s+", whole)


def _unnumbered(response: Object, words: int) -> Iterator[Object]:
    begun = {**response, **UNFINISHED}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        yield from _item(item, index, words)
    if response["status"] in TERMINAL:
        yield {"type": f"response.{response['status']}", "response": response}


def _item(item: Object, index: int, words: int) -> Iterator[Object]:
    yield {"type": "response.output_item.added", "output_index": index, "item": _begun(item)}
    for event in _progress(item, words):
        yield {"item_id": item.get("id"), "output_index": index, **event}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _begun(item: Object) -> Object:
    emptied: Object = {"content": [], "summary": [], "arguments": "", "input": "", "code": "", "status": "in_progress"}
    late = {"output", "outputs", "results", "result", "error"}
    return {key: None if key in late else emptied.get(key, value) for key, value in item.items()}


def _progress(item: Object, words: int) -> Iterator[Object]:
    match item["type"]:
        case "message":
            for index, part in enumerate(item["content"]):
                yield from _part(part, index, words)
        case "reasoning":
            for index, part in enumerate(item["summary"]):
                yield from _summary(part, index, words)
        case kind:
            first, *rest = STAGES.get(kind, ("",))
            yield from ({"type": f"response.{kind}.{stage}"} for stage in (first,) if stage)
            yield from _growth(item, words)
            last = "failed" if item.get("error") else "completed"
            yield from ({"type": f"response.{kind}.{last if stage == 'completed' else stage}"} for stage in rest)


def _growth(item: Object, words: int) -> Iterator[Object]:
    if item["type"] not in GROWING:
        return
    field, name = GROWING[item["type"]]
    for delta in deltas(item[field] or "", words):
        yield {"type": f"{name}.delta", "delta": delta}
    yield {"type": f"{name}.done", field: item[field] or ""}


def _part(part: Object, index: int, words: int) -> Iterator[Object]:
    field = "refusal" if part["type"] == "refusal" else "text"
    name = f"response.{part['type']}"
    extra: Object = {"logprobs": []} if field == "text" else {}
    empty = {**part, field: "", **({"annotations": []} if field == "text" else {})}
    yield {"type": "response.content_part.added", "content_index": index, "part": empty}
    for delta in deltas(part[field], words):
        yield {"type": f"{name}.delta", "content_index": index, "delta": delta, **extra}
    for position, annotation in enumerate(part.get("annotations", ())):
        marks = {"annotation_index": position, "annotation": annotation}
        yield {"type": f"{name}.annotation.added", "content_index": index, **marks}
    yield {"type": f"{name}.done", "content_index": index, field: part[field], **extra}
    yield {"type": "response.content_part.done", "content_index": index, "part": part}


def _summary(part: Object, index: int, words: int) -> Iterator[Object]:
    name = "response.reasoning_summary"
    yield {"type": f"{name}_part.added", "summary_index": index, "part": {**part, "text": ""}}
    for delta in deltas(part["text"], words):
        yield {"type": f"{name}_text.delta", "summary_index": index, "delta": delta}
    yield {"type": f"{name}_text.done", "summary_index": index, "text": part["text"]}
    yield {"type": f"{name}_part.done", "summary_index": index, "part": part}
