"""A model that knows little, behind an API that is like OpenAI's: what the example provider answers by itself."""

import json
import time
from secrets import token_hex
from typing import Any

from examples.answers import Answer, Pairs, Seen, error_answer, json_answer, stream_answer
from examples.events import USUAL, Object, events

MODELS = ("example-large", "example-small")
THOUGHT = "**Weighing the question**\n\nA short answer will do."
TEXT = "Envoy carries the bytes, the sidecar reads along, and every record can be accounted for."
SAMPLES: Object = {"integer": 7, "number": 0.5, "boolean": True, "array": [], "object": {}, "null": None}


def answer(seen: Seen, keys: frozenset[str] | None, pace: float) -> Answer:
    """The answer to any request. `keys`: the ones it likes, None for any; `pace`: seconds between a stream's events."""
    headers = (("x-request-id", f"req_{token_hex(16)}"),)
    key = (seen.first("authorization") or "").partition(" ")[2]
    if not key or (keys is not None and key not in keys):
        message = f"Incorrect API key provided: {key[:4]}***{key[-4:]}." if key else "No API key was provided."
        return error_answer(401, message, "invalid_request_error", "invalid_api_key", headers)
    match seen.method, seen.path.strip("/").split("/"):
        case "POST", ["v1", "responses"]:
            return _response(seen.body, headers, pace)
        case "GET", ["v1", "models"]:
            return json_answer({"object": "list", "data": [_model(name) for name in MODELS]}, headers=headers)
        case "GET", ["v1", "models", name] if name in MODELS:
            return json_answer(_model(name), headers=headers)
        case _:
            message = f"Unknown request: {seen.method} {seen.path}"
            return error_answer(404, message, "invalid_request_error", "unknown_url", headers)


def response(request: Object) -> Object:
    """The response object for a request: a call of its first tool that can be called, else a thought and a text."""
    output = _output(request)
    read, written = _words(request.get("input")), _words(output)
    return {
        "id": f"resp_{token_hex(24)}",
        **USUAL,
        "created_at": int(time.time()),
        "completed_at": int(time.time()),
        "model": str(request.get("model") or MODELS[0]),
        "tools": request.get("tools") or [],
        "output": output,
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": read // 4, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": min(written, len(THOUGHT.split()))},
            "total_tokens": read + written,
        },
    }


def _response(body: bytes, headers: Pairs, pace: float) -> Answer:
    try:
        request = json.loads(body)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        return error_answer(400, "The body is not a JSON object.", "invalid_request_error", None, headers)
    whole = response(request)
    if request.get("stream"):
        return stream_answer(events(whole), headers, pace)
    return json_answer(whole, headers=headers)


def _output(request: Object) -> list[Object]:
    if not _answered(request) and (tool := _callable(request)):
        return [_call(tool)]
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    message = {"id": f"msg_{token_hex(24)}", "type": "message", "status": "completed", "role": "assistant"}
    summary = [{"type": "summary_text", "text": THOUGHT}]
    return [{"id": f"rs_{token_hex(24)}", "type": "reasoning", "summary": summary}, {**message, "content": [part]}]


def _answered(request: Object) -> bool:
    items = request.get("input")
    last = items[-1] if isinstance(items, list) and items else None
    return isinstance(last, dict) and str(last.get("type", "")).endswith("_output")


def _callable(request: Object) -> Object | None:
    tools: list[Object] = request.get("tools") or []
    return next((tool for tool in tools if tool.get("type") in {"function", "custom"}), None)


def _call(tool: Object) -> Object:
    call = {"status": "completed", "call_id": f"call_{token_hex(12)}", "name": tool["name"]}
    if tool["type"] == "custom":
        return {"id": f"ctc_{token_hex(24)}", "type": "custom_tool_call", **call, "input": "example"}
    properties: Object = (tool.get("parameters") or {}).get("properties", {})
    arguments = json.dumps({name: _sample(schema) for name, schema in properties.items()})
    return {"id": f"fc_{token_hex(24)}", "type": "function_call", **call, "arguments": arguments}


def _sample(schema: Object) -> Any:  # noqa: ANN401 - a JSON value of whatever type the schema asks for
    return schema["enum"][0] if "enum" in schema else SAMPLES.get(str(schema.get("type")), "example")


def _model(name: str) -> Object:
    return {"id": name, "object": "model", "created": USUAL["created_at"], "owned_by": "example"}


def _words(value: object) -> int:
    return len(json.dumps(value).split())
