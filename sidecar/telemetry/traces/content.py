"""What was said, as JSON of the GenAI conventions' messages, never longer than an attribute may be.

The answer's own text is not there: it is not recorded.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from sidecar.core.records import Prompt, Thought, Tool
from sidecar.core.text import excerpt
from sidecar.telemetry.traces.calls import CLIENT_TOOLS, Said

MOST: Final = 65_536  # bytes of UTF-8 of an attribute
# What a message has beside its parts, and what is said of those that are left out.
_FRAME = 256
# A part of which less is left than this is left out.
_LEAST = 256
_NOTICE = 64

Part: TypeAlias = dict[str, Any]


def message(role: str, said: Iterable[Said], finish_reason: str | None = None) -> str:
    """One message with all that was `said`, in a list: JSON of at most `MOST` bytes, which tells where it was cut."""
    end = {} if finish_reason is None else {"finish_reason": finish_reason}
    return _json([{"role": role, "parts": _fitted([part(one) for one in said]), **end}]).decode()


def plain(text: str, room: int = MOST) -> str:
    """`text` in at most `room` bytes (more than 160); where it was cut, that is told at its end."""
    return text if len(text) * 4 <= room else excerpt(text, room - 160)


def part(one: Said) -> Part:
    """What was said, as a part of a message."""
    match one:
        case Prompt():
            return {"type": "text", "content": one.text}
        case Thought():
            return {"type": "text" if one.source == "commentary" else "reasoning", "content": one.text}
        case Tool() if one.kind in CLIENT_TOOLS:
            return {"type": "tool_call", "id": one.tool_call_id, "name": one.name, "arguments": _arguments(one.input)}
        case Tool():
            return {"type": "server_tool_call", "id": one.item_id, "name": one.name, "server_tool_call": _run(one)}


def _run(tool: Tool) -> Part:
    return {"type": tool.kind} if tool.input is None else {"type": tool.kind, "arguments": _arguments(tool.input)}


def _arguments(text: str | None) -> object:
    """Arguments as what they are; as text where that is too long to be looked into, or no JSON."""
    if text is None or len(text) > MOST:
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _fitted(parts: Sequence[Part]) -> list[object]:
    """The `parts` that there is room for, encoded, the last of them cut; and how many are left out."""
    room, kept = MOST - _FRAME, list[object]()
    for index, one in enumerate(parts):
        encoded = _json(one)
        if len(encoded) > room:
            shorter = _cut(one, room - (len(encoded) - len(_json(_long(one))))) if room > _LEAST else None
            kept += [] if shorter is None else [shorter]
            left = len(parts) - index - (shorter is not None)
            return [*kept, {"type": "text", "content": f"[cut: {left} more parts]"}] if left else kept
        kept.append(msgspec.Raw(encoded))
        room -= len(encoded) + 1
    return kept


def _cut(one: Part, room: int) -> Part | None:
    """`one` with `room` bytes for what is long in it; None where that is too little."""
    if room < _LEAST:
        return None
    whole = _long(one)
    text = whole if isinstance(whole, str) else _json(whole).decode()
    end = bisect_right(range(min(len(text), room)), room - _NOTICE, key=lambda end: len(_json(text[:end])))
    return {**one, list(one)[-1]: f"{text[: max(0, end - 1)]}… [cut at {max(0, end - 1)} of {len(text)} characters]"}


def _long(one: Part) -> object:
    """What may be long of a part: what comes last in it."""
    return list(one.values())[-1]


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
