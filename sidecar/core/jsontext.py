"""JSON text (RFC 8259), read without building what nobody asked for.

Values stay text (`Raw`) until one is wanted; unknown ones are validated and skipped. What the fast, strict parser
refuses but a client or provider may send (lone surrogate escapes; leniently also NaN, invalid UTF-8) takes a slower
way round through the standard library. Either way the structure is counted first, so that reading costs bounded time.
"""

import codecs
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from sidecar.core.errors import SidecarError
from sidecar.core.text import MAX_COUNT, clamp, utf8

# Commas and quotes that structure a document. 32 MiB of ordinary text in messages has far fewer; reading as many
# values as this takes about 50 ms.
MAX_TOKENS = 500_000
# The way round builds every value and writes it again: dearer, and escapes are what costs.
MAX_REBUILT_TOKENS = 200_000
MAX_REBUILT_ESCAPES = 500_000
MAX_REBUILT_SURROGATES = 50_000
# A request of the API has some forty members.
MAX_MEMBERS = 10_000

_SLICE = 262_144
_LONGEST_COUNT = 30  # digits
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ARRAY = msgspec.json.Decoder(list[Raw])
_STRING = msgspec.json.Decoder(str)
_MALFORMED = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

_NOT_BACKSLASH = re.compile(rb"[^\\]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_KEY = re.compile(rb'\s*[{,]\s*"([^"\\]*)"\s*:\s*')
_TAIL = re.compile(rb"(?:\s*\{)?\s*\}\s*\Z")
_INTEGER = re.compile(rb"-?[0-9]+\Z")
_TOO_COMPLEX = "the body has too many values"
_BOM = b"\xef\xbb\xbf"


class NotJson(SidecarError):
    """The payload is no JSON object."""


class TooComplex(SidecarError):
    """The payload has more structure than we are willing to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A JSON object. `twice`: the members whose name stands more than once; of these `members` has the last."""

    members: Mapping[str, Raw]
    twice: tuple[tuple[str, Raw], ...] = ()


def strict(data: bytes, watched: Collection[str]) -> Document:
    """Return the one object that `data` is by RFC 8259, in UTF-8; of what stands twice only the `watched` are told.

    Raises NotJson (also beyond the parser's nesting bound) or TooComplex.
    """
    if not is_utf8(data):
        msg = "the body is not UTF-8"
        raise NotJson(msg)
    _bound(data, MAX_TOKENS)
    try:
        found = _OBJECT.decode(data)
    except _MALFORMED:
        if _SURROGATE.search(data) is None:
            msg = "the body is not a JSON object"
            raise NotJson(msg) from None
    else:
        if _each_stands_once(data, found):
            return Document(members=found)
    _bound_rebuilt(data)
    pairs = _pairs(data.decode(), _refused)
    names = Counter(name for name, _ in pairs)
    twice = tuple((name, Raw(_dumped(value))) for name, value in pairs if name in watched and names[name] > 1)
    return Document(members=_OBJECT.decode(_dumped(dict(pairs))), twice=twice)


def lenient(data: bytes) -> Mapping[str, Raw] | None:
    """Return the members of the object that a lenient reader sees in `data`; None when it sees none."""
    data = data.removeprefix(_BOM)
    try:
        _bound(data, MAX_TOKENS)
        if is_utf8(data):
            return _OBJECT.decode(data)
    except TooComplex:
        return None
    except _MALFORMED:
        pass
    try:
        _bound_rebuilt(data)
        return _OBJECT.decode(_dumped(dict(_pairs(data.decode("utf-8", "replace"), _nothing))))
    except (NotJson, TooComplex):
        return None


def members(raw: Raw | None) -> Mapping[str, Raw]:
    """Return the members of an object; none of what is no object."""
    return _OBJECT.decode(raw) if raw and kind(raw) == "{" else {}


def items(raw: Raw | None) -> list[Raw]:
    """Return the items of an array; none of what is no array."""
    return _ARRAY.decode(raw) if raw and kind(raw) == "[" else []


def string(raw: Raw | None) -> str | None:
    """Return a string's value; None for what is no string."""
    return _STRING.decode(raw) if raw and kind(raw) == '"' else None


def kind(raw: Raw) -> str:
    """Return the character a value begins with: what it is."""
    return chr(memoryview(raw)[0])


def text(raw: Raw) -> str:
    """Return a value's JSON text, as it stands."""
    return bytes(raw).decode()


def count(raw: Raw | None) -> int:
    """Return a count: not negative, at most 64 bits; 0 for what is no integer."""
    if not raw or _INTEGER.match(bytes(raw)) is None:
        return 0
    return clamp(int(bytes(raw)) if len(raw) <= _LONGEST_COUNT else -1 if kind(raw) == "-" else MAX_COUNT)


def is_utf8(data: bytes) -> bool:
    """Whether `data` is UTF-8, told without holding all of it a second time."""
    if data.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(data), _SLICE):
            decoder.decode(data[at : at + _SLICE], at + _SLICE >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def tokens(data: bytes, most: int) -> int:
    """Count the quotes, and the commas outside of strings; stops soon after `most`.

    In slices, each a few C calls: escapes are dropped, then what stands between quotes. A slice never parts an escape.
    """
    found, at, inside = 0, 0, False
    while at < len(data) and found <= most:
        after = _NOT_BACKSLASH.search(data, at + _SLICE)
        end = after.end() if after else len(data)
        parts = data[at:end].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        found += len(parts) - 1 + b"".join(parts[inside::2]).count(b",")
        inside ^= len(parts) % 2 == 0
        at = end
    return found


def _bound(data: bytes, most: int) -> None:
    # At least every other quote of the structure has no backslash before it (the opening one).
    few = data.count(b",") + 2 * (data.count(b'"') - data.count(b'\\"')) <= most
    if not few and tokens(data, most) > most:
        raise TooComplex(_TOO_COMPLEX)


def _bound_rebuilt(data: bytes) -> None:
    _bound(data, MAX_REBUILT_TOKENS)
    surrogates = data.count(b"\\ud") + data.count(b"\\uD")
    if surrogates > MAX_REBUILT_SURROGATES or data.count(b"\\") > MAX_REBUILT_ESCAPES:
        raise TooComplex(_TOO_COMPLEX)


def _each_stands_once(data: bytes, found: Mapping[str, Raw]) -> bool:
    """Walk the members in their order: where a name stands twice, or escaped, the text between them does not fit."""
    if len(found) > MAX_MEMBERS:
        raise TooComplex(_TOO_COMPLEX)
    at = 0
    for name, raw in found.items():
        key = _KEY.match(data, at)
        if key is None or key[1] != name.encode() or not data.startswith(bytes(raw), key.end()):
            return False
        at = key.end() + len(raw)
    return _TAIL.match(data, at) is not None


def _pairs(document: str, constant: Callable[[str], object]) -> list[tuple[str, object]]:
    """The top object's members as they stand. Numbers that no machine holds become the nearest that one does."""
    last: list[tuple[str, object]] = []

    def built(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal last
        if len(pairs) > MAX_MEMBERS:
            raise TooComplex(_TOO_COMPLEX)
        last = pairs
        return dict(pairs)

    try:
        top = json.loads(
            document, object_pairs_hook=built, parse_int=_integer, parse_float=_float, parse_constant=constant
        )
    except (ValueError, RecursionError):
        top = None
    if not isinstance(top, dict):
        msg = "the body is not a JSON object"
        raise NotJson(msg)
    return last


def _dumped(value: object) -> bytes:
    return utf8(json.dumps(value, ensure_ascii=False))


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= _LONGEST_COUNT else -MAX_COUNT if digits[0] == "-" else MAX_COUNT


def _float(digits: str) -> float:
    return max(-sys.float_info.max, min(float(digits), sys.float_info.max))


def _refused(name: str) -> object:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def _nothing(_: str) -> object:
    return None
