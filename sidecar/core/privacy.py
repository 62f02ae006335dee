"""The one gate in front of everything that keeps or shows records: what may be known of content, and what is masked.

full     everything
usage    of a prompt, a tool's input and a thought only the length and the SHA-256
none     interceptions and tokens alone
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import msgspec

from sidecar.core.masks import Masks
from sidecar.core.records import Ended, Passed, Prompt, Record, Started, Thought, Tokens, Tool


class Content(StrEnum):
    """How much of what people and models say may be known."""

    FULL = "full"
    USAGE = "usage"
    NONE = "none"


# What a client or a provider says, beside content. Their own ids are masked in the same way wherever they stand.
_SAID: Final[Mapping[type, tuple[str, ...]]] = MappingProxyType(
    {
        Started: ("model", "client_session", "user_agent", "correlating_tool_call", "request_path", "request_id"),
        Prompt: ("msg_id",),
        Tokens: ("msg_id", "provider_model", "service_tier"),
        Tool: ("msg_id", "item_id", "tool_call_id", "kind", "name", "server_url"),
        Thought: ("msg_id",),
        Ended: ("provider_request_id",),
        Passed: ("path", "url"),
    }
)
_CONTENT: Final[Mapping[type, str]] = MappingProxyType(
    {Started: "prompt", Prompt: "text", Tool: "input", Thought: "text"}
)


class Gate:
    """What passes to those who keep or show records."""

    __slots__ = ("_content", "_masks")

    def __init__(self, content: Content = Content.FULL, masks: Masks | None = None) -> None:
        self._content = content
        self._masks = masks or Masks()

    @property
    def content(self) -> Content:
        """How much of what people and models say passes."""
        return self._content

    @property
    def masks(self) -> Masks:
        """What is masked of it."""
        return self._masks

    def __call__(self, records: Sequence[Record]) -> Sequence[Record]:
        """`records` as they may be known, in their order; those that may not be known are left out."""
        if self._content is Content.FULL and not self._masks:
            return records
        return tuple(self._let(record) for record in records if self._may_be_known(record))

    def _may_be_known(self, record: Record) -> bool:
        return self._content is not Content.NONE or not isinstance(record, Prompt | Tool | Thought)

    def _let(self, record: Record) -> Record:
        changes: dict[str, Any] = {}
        if self._masks:
            changes = _changed(record, _SAID.get(type(record), ()), self._masks.text)
            changes |= self._told(record)
        if name := _CONTENT.get(type(record)):
            changes |= _changed(record, (name,), self._said_by(record))
        return replace(record, **changes) if changes else record

    def _said_by(self, record: Record) -> Callable[[str], str | None]:
        is_json = isinstance(record, Tool)
        match self._content:
            case Content.NONE:
                return lambda _: None
            case Content.USAGE:
                return _withheld_json if is_json else _withheld
        return self._masks.document if is_json else self._masks.text

    def _told(self, record: Record) -> dict[str, Any]:
        if isinstance(record, Started):
            asked = record.parameters
            words = ("reasoning_level", "previous_response", "conversation", "service_tier", "output_type")
            return {"parameters": replace(asked, **_changed(asked, words, self._masks.text))}
        if isinstance(record, Ended):
            said = record.answered
            words = ("response", "model", "service_tier", "status", "incomplete_reason")
            told: dict[str, Any] = {"answered": replace(said, **_changed(said, words, self._masks.text))}
            if record.failure:
                told["failure"] = replace(record.failure, message=self._masks.text(record.failure.message))
            return told
        return {}


def _changed(value: object, names: Sequence[str], change: Callable[[str], str | None]) -> dict[str, Any]:
    found = {name: getattr(value, name) for name in names}
    return {name: change(text) for name, text in found.items() if text}


def _withheld(text: str) -> str:
    data = text.encode()
    return f"[withheld: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}]"


def _withheld_json(text: str) -> str:
    return msgspec.json.encode(_withheld(text)).decode()
