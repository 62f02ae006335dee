"""Reading the payload of a Responses API request (API reference: POST /v1/responses).

What is forwarded are the bytes as they came; this only finds in them what is recorded and what is decided by. A
surprising schema is no error: nothing is found.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from urllib.parse import parse_qsl

from msgspec import Raw, Struct

from sidecar.core import content, jsontext, mending
from sidecar.core.errors import SidecarError
from sidecar.core.events import Headers
from sidecar.core.records import Parameters
from sidecar.core.text import clean, excerpt

_WATCHED = frozenset({"model", "stream", "background", "input", "metadata"})
_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})
_LONGEST_WORD = 6  # one more than there are: a text may be megabytes
# Of a number: nothing but zeros before its exponent.
_ZERO = re.compile(r"-?[0.]++(?:[eE]|\Z)")
# A number that says what it is: not more digits than a float has.
_FRACTION = re.compile(rb"-?[0-9]{1,8}(?:\.[0-9]{1,20})?")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";,]*)", re.IGNORECASE)
# How many trailing system and developer items are looked over for the user's one.
_MOST_SKIPPED = 1000
# Of one message. Each costs some microseconds.
_MOST_PARTS = 10_000
_TOO_MANY_PARTS = "the last message has too many parts"


class Request(Struct, frozen=True, kw_only=True):
    """What was asked. `model` is clean and cut; `prompt` is cut at the bound on what is recorded."""

    model: str
    streaming: bool
    background: bool
    prompt: str | None
    correlating_tool_call: str | None
    user_id: str | None  # `metadata.user_id`, where Claude Code puts its session
    parameters: Parameters = Parameters()


class Unreadable(SidecarError):
    """The client's fault: a payload that cannot be read. `status` is the answer's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class TooLarge(Unreadable):
    """It has more bytes than it may have."""

    def __init__(self) -> None:
        super().__init__(413, "request body too large")


def payload(headers: Headers, body: bytes, limit: int) -> bytes:
    """Return the JSON text that `body` carries under its content-encoding, at most `limit` bytes.

    Raises Unreadable: 415 for a charset other than UTF-8 or what cannot be decoded, and TooLarge beyond the limit.
    """
    for value in headers.all("content-type"):
        for charset in _CHARSET.findall(value):
            if charset.lower() not in {"utf-8", "utf8"}:
                raise Unreadable(415, "the body's charset must be utf-8")
    try:
        return content.decoded(body, ",".join(headers.all("content-encoding")) or None, limit)
    except content.TooLarge:
        raise TooLarge from None
    except content.Undecodable as error:
        raise Unreadable(415, str(error)) from None


def read(data: bytes, recorded_bytes: int) -> Request:
    """Return what `data` asks for; prompts are cut at `recorded_bytes`. Raises Unreadable (400, 413)."""
    try:
        return _read(jsontext.strict(data), recorded_bytes)
    except jsontext.NotJson as error:
        raise Unreadable(400, str(error)) from None
    except mending.TooComplex as error:
        raise Unreadable(413, str(error)) from None


def asks_for_stream(target: str) -> bool:
    """Whether a request without a body asks for a stream: a stored response can be had as one, `?stream=true`."""
    _, _, query = target.partition("?")
    return any(name == "stream" and _says_true(value) for name, value in parse_qsl(query))


def _read(document: jsontext.Document, recorded_bytes: int) -> Request:
    found = document.members
    twice = [(name, raw) for name, raw in document.twice if name in _WATCHED]
    background = any(_unless_false(raw) for name, raw in twice if name == "background")
    if twice and not background:
        msg = f"the body has {twice[0][0]} twice"
        raise Unreadable(400, msg)
    last = _last(found.get("input"))
    prompt = _prompt(found.get("input"), last)
    return Request(
        model=_model(found.get("model")),
        streaming=_truth(found.get("stream")),
        background=background or _unless_false(found.get("background")),
        prompt=None if prompt is None else excerpt(prompt, recorded_bytes),
        correlating_tool_call=_correlating(last),
        user_id=_user_id(found.get("metadata")),
        parameters=_parameters(found),
    )


def _parameters(found: Mapping[str, Raw]) -> Parameters:
    conversation = found.get("conversation")
    output = jsontext.members(found.get("text")).get("format")
    return Parameters(
        reasoning_level=_word(jsontext.members(found.get("reasoning")).get("effort")),
        previous_response=_word(found.get("previous_response_id")),
        conversation=_word(conversation) or _word(jsontext.members(conversation).get("id")),
        service_tier=_word(found.get("service_tier")),
        output_type=_word(jsontext.members(output).get("type")),
        max_tokens=jsontext.count(found.get("max_output_tokens")) or None,
        temperature=_fraction(found.get("temperature")),
        top_p=_fraction(found.get("top_p")),
    )


def _word(raw: Raw | None) -> str | None:
    return None if raw is None else clean(jsontext.string(raw) or "") or None


def _fraction(raw: Raw | None) -> float | None:
    if raw is None or not _FRACTION.fullmatch(raw):
        return None
    return float(raw)


def _model(raw: Raw | None) -> str:
    if raw is None or jsontext.kind(raw) == "n":
        return ""
    name = jsontext.string(raw)
    said = jsontext.text(raw) if name is None else name
    kept = clean(said)
    # Where it is cut, blanks do not hide it from whoever asks which model that is.
    return kept if len(kept) == len(said) else clean(said.strip())


def _truth(raw: Raw | None) -> bool:
    """`true`, a number other than 0, or a word for true."""
    if raw is None:
        return False
    word = jsontext.string(raw)
    if word is not None:
        return _says_true(word)
    return jsontext.kind(raw) not in "fn{[" and not _is_zero(raw)


def _says_true(word: str) -> bool:
    return word[:_LONGEST_WORD].lower() in _TRUE


def _unless_false(raw: Raw | None) -> bool:
    """Whether some reader could take it for true: all but null, false, a zero, or a word for false."""
    if raw is None:
        return False
    word = jsontext.string(raw)
    if word is not None:
        return word[:_LONGEST_WORD].lower() not in _FALSE
    return jsontext.kind(raw) not in "fn" and not _is_zero(raw)


def _is_zero(raw: Raw) -> bool:
    return _ZERO.match(jsontext.text(raw)) is not None


def _last(raw: Raw | None) -> list[Mapping[str, Raw]]:
    """The input's last items, latest first: up to the first that is neither system's nor developer's."""
    found = []
    for item in islice(reversed(jsontext.items(raw)), _MOST_SKIPPED):
        found.append(jsontext.members(item))
        if jsontext.string(found[-1].get("role")) not in {"system", "developer"}:
            break
    return found


def _prompt(raw: Raw | None, last: list[Mapping[str, Raw]]) -> str | None:
    if not last:
        return jsontext.string(raw)
    if jsontext.string(last[-1].get("role")) != "user":
        return None
    content = last[-1].get("content")
    parts = list(_texts(content))
    return "\n".join(parts) if parts else jsontext.string(content)


def _texts(raw: Raw | None) -> Iterator[str]:
    parts = jsontext.items(raw)
    if len(parts) > _MOST_PARTS:
        raise mending.TooComplex(_TOO_MANY_PARTS)
    for part in map(jsontext.members, parts):
        text = jsontext.string(part.get("text"))
        if text is not None and jsontext.string(part.get("type")) == "input_text":
            yield text


def _correlating(last: list[Mapping[str, Raw]]) -> str | None:
    if last and jsontext.string(last[0].get("type")) == "function_call_output":
        return clean(jsontext.string(last[0].get("call_id")) or "") or None
    return None


def _user_id(raw: Raw | None) -> str | None:
    found = jsontext.members(raw).get("user_id")
    if found is None:
        return None
    name = jsontext.string(found)
    return jsontext.text(found) if name is None else name
