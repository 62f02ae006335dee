"""The one gate in front of everything that keeps or shows records: what may be known of content, and what is masked.

full     everything
usage    of a prompt, a tool's input and a thought only the length and the SHA-256
none     interceptions and tokens alone
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from sidecar.core.masks import MASK, Masks, Work
from sidecar.core.records import Ended, Passed, Prompt, Record, Started, Thought, Tokens, Tool
from sidecar.core.text import utf8


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
_ASKED: Final = ("reasoning_level", "previous_response", "conversation", "service_tier", "output_type")
_ANSWERED: Final = ("response", "model", "service_tier", "status", "incomplete_reason")
_CONTENT: Final[Mapping[type, tuple[str, ...]]] = MappingProxyType(
    {Started: ("prompt",), Prompt: ("text",), Tool: ("input", "invocation_error"), Thought: ("text",)}
)
_JSON: Final = "input"  # the content that is JSON text
# How `text.excerpt` ends what it cut, within JSON text too.
_CUT: Final = re.compile(r'… \[cut at [0-9]+ of [0-9]+ bytes, sha256 [0-9a-f]{64}\]"?\Z')
_MARK: Final = 160  # characters that this has at most
_LONGEST_WORD: Final = 4096  # characters


class Gate:
    """What passes to those who keep or show records."""

    __slots__ = ("_content", "_masks")

    def __init__(self, content: Content = Content.FULL, masks: Masks | None = None) -> None:
        self._content = content
        self._masks = Masks() if masks is None else masks

    @property
    def content(self) -> Content:
        """How much of what people and models say passes."""
        return self._content

    @property
    def masks(self) -> Masks:
        """What is masked of it."""
        return self._masks

    def __call__(self, records: Sequence[Record]) -> Sequence[Record]:
        """`records` as they may be known, in their order; those that may not be known are left out. Never raises."""
        if self._content is Content.FULL and not self._masks:
            return records
        work = Work()  # of what there may be very many
        return tuple(
            self._let(record, work if isinstance(record, Tool | Thought) else Work())
            for record in records
            if self._may_be_known(record)
        )

    def _may_be_known(self, record: Record) -> bool:
        return self._content is not Content.NONE or not isinstance(record, Prompt | Tool | Thought)

    def _let(self, record: Record, work: Work) -> Record:
        text = partial(self._masks.text, work=work)
        changes: dict[str, Any] = {}
        if self._masks:
            changes = _changed(record, _SAID.get(type(record), ()), text) | _told(record, text)
        for name in _CONTENT.get(type(record), ()):
            changes |= _changed(record, (name,), partial(self._json if name == _JSON else self._prose, work=work))
        return replace(record, **changes) if changes else record

    def _prose(self, text: str, work: Work) -> str | None:
        match self._content:
            case Content.NONE:
                return None
            case Content.USAGE:
                return _withheld(self._masks.text(text, work))
        return self._masks.text(_whole_words(text), work)

    def _json(self, text: str, work: Work) -> str:
        if self._content is Content.USAGE:
            return json.dumps(_withheld(self._masks.document(text, work)))
        return self._masks.document(_whole_words(text), work)


def _told(record: Record, text: Callable[[str], str]) -> dict[str, Any]:
    match record:
        case Started(parameters=asked):
            return {"parameters": replace(asked, **_changed(asked, _ASKED, text))}
        case Ended(answered=said, failure=failure):
            told: dict[str, Any] = {"answered": replace(said, **_changed(said, _ANSWERED, text))}
            if failure:
                told["failure"] = replace(failure, message=text(failure.message))
            return told
    return {}


def _changed(value: object, names: Sequence[str], change: Callable[[str], str | None]) -> dict[str, Any]:
    found = [(name, text, change(text)) for name in names if (text := getattr(value, name))]
    return {name: changed for name, text, changed in found if changed != text}


def _withheld(text: str) -> str:
    data = utf8(text)
    return f"[withheld: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}]"


def _whole_words(text: str) -> str:
    """`text` without its last word where it was cut: perhaps amid what is to be masked, so that nothing matches."""
    cut = _CUT.search(text, max(0, len(text) - _MARK))
    if cut is None:
        return text
    begin = max(int(text.startswith('"')), cut.start() - _LONGEST_WORD)
    kept = text[begin : cut.start()]
    word = "" if kept[-1:].isspace() or not kept else kept.split()[-1]
    return text[: cut.start() - len(word)] + (MASK if word else "") + text[cut.start() :]
