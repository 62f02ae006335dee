"""Reading what a Responses API provider answers (API reference: the Response object, and its streaming events).

The seam for a second API: an `Answer` is told of a JSON document or of server-sent events, and says what it found. It
never fails on a surprising schema; it finds nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from sidecar.core import jsontext
from sidecar.core.mending import TooComplex
from sidecar.core.records import Answered, ErrorType, Failure, Thought, Tokens, Tool
from sidecar.core.text import clean, excerpt, utf8

_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_.]+)"')
# What stands between two events of a stream and is nothing but whole ones of which none tells anything: deltas, in the
# form in which the API sends them. In any other they are read like all else, which costs time alone.
deltas = re.compile(
    rb'(?:(?:event: [a-z_.]++\n)?data: \{"type":"response\.[a-z_]++(?:\.[a-z_]++)*?\.delta"[^\r\n]*+\n\n)++'
).fullmatch
# Where the type does not stand first: a word for one that tells something, or an escape that could hide its letters.
_WORD_THAT_TELLS = re.compile(
    rb'"(?:response\.(?:completed|done|incomplete|failed|created|queued|in_progress|output_item\.done)|error)"'
)
_ESCAPED_LETTER = re.compile(rb"\\u00(?:2[eE]|5[fF]|6[1-9a-fA-F]|7[0-9aA])")
_SHORTEST = len('{"type":"error"}')
# The API reference has no `response.done`: other backends, and OpenAI's own over WebSocket, end with it.
_TERMINAL = frozenset({b"response.completed", b"response.done", b"response.incomplete", b"response.failed"})
_ITEM_DONE = b"response.output_item.done"
_OPENING = frozenset({b"response.created", b"response.queued", b"response.in_progress"})
_TELLING = _TERMINAL | _OPENING | {_ITEM_DONE, b"error"}
_HOSTED = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "computer_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
    }
)
_NULL = Raw(b"null")
_WORD = re.compile(r"[a-z0-9_.]{1,64}\Z")
# What may be looked into: bytes of texts that are wanted, and as many for each item and part, which costs as much time.
# An answer has a few dozen items, and no model writes so much text.
MAX_ROOM = 16_777_216
_ITEM_ROOM = 2048
_TOO_COMPLEX = Failure(type=ErrorType.UNREAD, message="the response has too many items or too much text")
_EVENT_TOO_COMPLEX = Failure(type=ErrorType.UNREAD, message="an event has too many values or odd characters")

Finding = Tool | Thought
Members = Mapping[str, Raw]


def tells(event: bytes) -> bool:
    """Whether `event` (a server-sent event's data) could say something that is read, told without decoding it."""
    if len(event) < _SHORTEST:
        return False
    if name := _TYPE.match(event):
        return name[1] in _TELLING
    return _WORD_THAT_TELLS.search(event) is not None or _ESCAPED_LETTER.search(event) is not None


def may_end(event: bytes) -> bool:
    """Whether `event`, which tells something, could be a response's last."""
    name = _TYPE.match(event)
    return name is None or name[1] in _TERMINAL


@dataclass(slots=True, kw_only=True)
class Answer:
    """What has been read of one response so far. `at` of what it finds: when it was told."""

    interception: str
    recorded_bytes: int
    is_credential: Callable[[str], bool]
    id: str = ""
    ended: bool = False  # a terminal event, or the whole document, was read
    failure: Failure | None = None
    tokens: Tokens | None = None
    findings: list[Finding] = field(default_factory=list)
    answered: Answered = field(default_factory=Answered)
    _room: int = MAX_ROOM  # left

    @property
    def held(self) -> int:
        """How many bytes what was found may take."""
        return MAX_ROOM - self._room

    def event(self, data: bytes, at: float) -> None:
        """Read one server-sent event's data."""
        for _ in self.reading_event(data, at):
            pass

    def reading_event(self, data: bytes, at: float) -> Iterator[None]:
        """Do as `event` does, with a pause wherever that takes long."""
        try:
            for found in jsontext.leniently(data):
                if found is None:
                    yield
                else:
                    self._tell(utf8(jsontext.string(found.get("type")) or ""), found, at)
        except jsontext.NotJson:
            pass
        except TooComplex:
            self.failure = self.failure or _EVENT_TOO_COMPLEX

    def document(self, data: bytes, at: float) -> None:
        """Read a whole JSON response."""
        self._document(jsontext.lenient(data), at)

    def reading_document(self, data: bytes, at: float) -> Iterator[None]:
        """Do as `document` does, with a pause wherever that takes long, and so whatever the length."""
        found = None
        try:
            for found in jsontext.leniently(data):
                if found is None:
                    yield
        except (jsontext.NotJson, TooComplex):
            pass
        yield
        self._document(found, at)

    def told(self, data: bytes) -> str:
        """Return an error document's words for its error, as ` (type, code)`; empty when none is fit to keep."""
        return self._words(jsontext.members((jsontext.lenient(data) or {}).get("error")))

    def records(self) -> Iterator[Tokens | Finding]:
        """What was found, in the response's order, under its id."""
        if self.tokens is not None:
            yield self.tokens if self.tokens.msg_id == self.id else replace(self.tokens, msg_id=self.id)
        for finding in self.findings:
            yield finding if finding.msg_id == self.id else replace(finding, msg_id=self.id)

    def _document(self, found: Members | None, at: float) -> None:
        if found is None:
            self.failure = Failure(type=ErrorType.UNREAD, message="the response is no JSON object that can be read")
            return
        if jsontext.string(found.get("type")) == "error" or (
            jsontext.string(found.get("status")) is None and _has_error(found)
        ):
            self._error(found)
        self._response(found, at)
        self.ended = True

    def _tell(self, name: bytes, found: Members, at: float) -> None:
        response = jsontext.members(found.get("response"))
        if name in _TERMINAL:
            self._response(response, at)
            self.ended = True
            if name == b"response.failed" and self.failure is None:
                error = jsontext.members(response.get("error")) or jsontext.members(found.get("error"))
                self._fail("the provider reported that the response failed", error)
        elif name == _ITEM_DONE:
            self.findings += self._findings((found.get("item", _NULL),), at)
        elif name == b"error" or (not name and _has_error(found)):
            self._error(found)
        self._identify(response)

    def _response(self, found: Members, at: float) -> None:
        self._identify(found)
        self.answered = Answered(
            response=self.id,
            model=_name(found, "model"),
            service_tier=_name(found, "service_tier"),
            status=_name(found, "status"),
            incomplete_reason=_name(jsontext.members(found.get("incomplete_details")), "reason"),
        )
        self.tokens = self._tokens(found, at)
        # A provider that stores nothing may leave out here what it told item by item.
        if output := jsontext.items(found.get("output")):
            self.findings = self._findings(output, at)
        if self.answered.status == "failed":
            self._fail("the provider reported that the response failed", jsontext.members(found.get("error")))

    def _identify(self, response: Members) -> None:
        if not self.id:
            self.id = clean(jsontext.string(response.get("id")) or "")

    def _error(self, found: Members) -> None:
        nested = jsontext.members(found.get("error"))
        self._fail("the provider reported an error", nested or {"code": found.get("code", _NULL)})

    def _fail(self, message: str, error: Members) -> None:
        self.failure = Failure(type=ErrorType.UNKNOWN, message=message + self._words(error))

    def _words(self, error: Members) -> str:
        words = [_word(error.get(name)) for name in ("type", "code")]
        kept = [word for word in words if _WORD.match(word) and not self.is_credential(word)]
        return f" ({', '.join(kept)})" if kept else ""

    def _tokens(self, response: Members, at: float) -> Tokens | None:
        usage = jsontext.members(response.get("usage"))
        if not usage:
            return None
        sent, received = (jsontext.members(usage.get(f"{side}_tokens_details")) for side in ("input", "output"))
        cached, written = jsontext.count(sent.get("cached_tokens")), jsontext.count(sent.get("cache_write_tokens"))
        return Tokens(
            interception=self.interception,
            at=at,
            msg_id=self.id,
            # The API's input_tokens includes the cached ones.
            input=max(0, jsontext.count(usage.get("input_tokens")) - cached - written),
            output=jsontext.count(usage.get("output_tokens")),
            cache_read=cached,
            cache_write=written,
            extra={
                "input_cached": cached,
                "output_reasoning": jsontext.count(received.get("reasoning_tokens")),
                "total_tokens": jsontext.count(usage.get("total_tokens")),
            },
            provider_model=self.answered.model,
            service_tier=self.answered.service_tier,
        )

    def _findings(self, items: Sequence[Raw], at: float) -> list[Finding]:
        try:
            return [finding for item in self._looked_into(items) for finding in self._item(item, at)]
        except TooComplex:
            self.failure = _TOO_COMPLEX
            return []

    def _looked_into(self, parts: Sequence[Raw]) -> Iterator[Members]:
        self._spend(_ITEM_ROOM * len(parts))
        return map(jsontext.members, parts)

    def _text(self, raw: Raw | None) -> str | None:
        self._spend(len(raw or b""))
        return jsontext.string(raw)

    def _spend(self, room: int) -> None:
        self._room -= room
        if self._room < 0:
            raise TooComplex(_TOO_COMPLEX.message)

    def _item(self, item: Members, at: float) -> Iterator[Finding]:
        kind = jsontext.string(item.get("type")) or ""
        if kind == "function_call":
            yield self._tool(kind, item, at, self._arguments(item.get("arguments")))
        elif kind == "custom_tool_call":
            yield self._tool(kind, item, at, self._said(self._text(item.get("input")) or ""))
        elif kind in _HOSTED:
            yield self._tool(kind, item, at, None)
        elif kind == "reasoning":
            yield from self._thoughts("reasoning_summary", item.get("summary"), at, "")
        elif kind == "message" and _is_commentary(item):
            yield from self._thoughts("commentary", item.get("content"), at, "output_text")

    def _tool(self, kind: str, item: Members, at: float, sent: str | None) -> Tool:
        return Tool(
            interception=self.interception,
            at=at,
            msg_id=self.id,
            item_id=_name(item, "id"),
            tool_call_id=_name(item, "call_id"),
            kind=kind,
            name=_name(item, "name") or kind,
            input=sent,
            server_url=None,
        )

    def _arguments(self, raw: Raw | None) -> str:
        """The arguments' own JSON text; as a JSON string when they are none."""
        sent = self._text(raw)
        if sent is None:
            return self._spelt(jsontext.text(raw)) if raw and jsontext.kind(raw) in "{[" else self._said("")
        sent = sent.strip()
        document = jsontext.value(sent) if sent else None
        return self._said(sent) if document is None else self._spelt(document)

    def _said(self, text: str) -> str:
        """A text, as JSON."""
        return _quoted(excerpt(text, self.recorded_bytes))

    def _spelt(self, document: str) -> str:
        """JSON text, as it is; as a string of its beginning where that is cut."""
        kept = excerpt(document, self.recorded_bytes)
        return kept if kept == document else _quoted(kept)

    def _thoughts(self, source: str, parts: Raw | None, at: float, kind: str) -> Iterator[Thought]:
        self._spend(len(parts or b""))
        for part in self._looked_into(jsontext.items(parts)):
            text = jsontext.string(part.get("text"))
            if text and (not kind or jsontext.string(part.get("type")) == kind):
                kept = excerpt(text, self.recorded_bytes)
                yield Thought(interception=self.interception, at=at, msg_id=self.id, source=source, text=kept)


def _name(found: Members, name: str) -> str | None:
    value = jsontext.string(found.get(name))
    return None if value is None else clean(value)


def _word(raw: Raw | None) -> str:
    """A string, or a number's digits: some providers give an HTTP status for a code."""
    return jsontext.string(raw) or (jsontext.text(raw) if raw and jsontext.kind(raw).isdigit() else "")


def _has_error(found: Members) -> bool:
    """Whether it is an error, though it does not say so by its type: OpenAI's SDKs raise it, too."""
    error = found.get("error")
    return bool(jsontext.members(error) or jsontext.string(error))


def _is_commentary(item: Members) -> bool:
    return (jsontext.string(item.get("role")), jsontext.string(item.get("phase"))) == ("assistant", "commentary")


def _quoted(value: str) -> str:
    return msgspec.json.encode(value).decode()
