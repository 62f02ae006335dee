"""JSON text (RFC 8259), read without building what nobody asked for.

Values stay text (`Raw`) until one is wanted; unknown ones are validated and skipped. What the fast, strict parser
refuses but a client or provider may send (lone surrogate escapes; leniently also NaN, invalid UTF-8) is mended first.
The structure is counted before anything is built, so that reading costs bounded time and memory.
"""

import codecs
import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from sidecar.core.errors import SidecarError
from sidecar.core.text import ID_BYTES, MAX_COUNT, clamp, utf8

# Commas and quotes that structure a document. 32 MiB of ordinary text in messages has far fewer; reading as many
# values as this takes about 50 ms.
MAX_TOKENS = 500_000
# Lone surrogates that are replaced, and bytes that are read with the standard library's slower parser.
MAX_SURROGATES = 50_000
MAX_LENIENT_BYTES = 4_194_304
# A request of the API has some forty members.
MAX_MEMBERS = 10_000

_SLICE = 262_144
_LONGEST_COUNT = 30  # digits
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ARRAY = msgspec.json.Decoder(list[Raw])
_VALUE = msgspec.json.Decoder(Raw)
_STRING = msgspec.json.Decoder(str)
_MALFORMED = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

_NOT_BACKSLASH = re.compile(rb"[^\\]")
_LONE_SURROGATE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
_KEY = re.compile(rb'\s*[{,]\s*"([^"\\]*)"\s*:\s*')
_TAIL = re.compile(rb"(?:\s*\{)?\s*\}\s*\Z")
_INTEGER = re.compile(rb"-?[0-9]+\Z")
_TOO_COMPLEX = "the body has too many values"
_NOT_UTF8 = "the body is not UTF-8"
_NOT_AN_OBJECT = "the body is not a JSON object"
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
        raise NotJson(_NOT_UTF8)
    _bound(data)
    found: Mapping[str, Raw]
    try:
        found = _OBJECT.decode(data)
    except _MALFORMED:
        data = _repaired(data)
        found = _decoded(data)
    return Document(members=found, twice=() if _each_stands_once(data, found) else _twice(data, watched))


def lenient(data: bytes) -> Mapping[str, Raw] | None:
    """Return the members of the object that a lenient reader sees in `data`; None when it sees none.

    Lenient: a BOM, invalid UTF-8, lone surrogates, and (up to `MAX_LENIENT_BYTES`) NaN and Infinity.
    """
    data = data.removeprefix(_BOM)
    if not is_utf8(data):
        data = data.decode("utf-8", "replace").encode()
    try:
        _bound(data)
        try:
            return _OBJECT.decode(data)
        except _MALFORMED:
            return _decoded(_without_constants(_repaired(data) if _surrogates(data) else data))
    except (NotJson, TooComplex):
        return None


def value(document: str) -> str | None:
    """Return the JSON text that `document` is, lone surrogates replaced; None when it is none."""
    data = utf8(document)
    try:
        _VALUE.decode(data)
    except _MALFORMED:
        try:
            data = _repaired(data)
            _VALUE.decode(data)
        except (NotJson, TooComplex, *_MALFORMED):
            return None
    return data.decode()


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


def _bound(data: bytes) -> None:
    # At least every other quote of the structure has no backslash before it (the opening one).
    few = data.count(b",") + 2 * (data.count(b'"') - data.count(b'\\"')) <= MAX_TOKENS
    if not few and tokens(data, MAX_TOKENS) > MAX_TOKENS:
        raise TooComplex(_TOO_COMPLEX)


def _decoded(data: bytes) -> Mapping[str, Raw]:
    try:
        return _OBJECT.decode(data)
    except _MALFORMED:
        raise NotJson(_NOT_AN_OBJECT) from None


def _repaired(data: bytes) -> bytes:
    """Replace each escape of a lone surrogate by that of U+FFFD; nothing else changes."""
    # U+0001 is no JSON, and stands for an escaped backslash below.
    if b"\x01" in data or not _surrogates(data):
        raise NotJson(_NOT_AN_OBJECT)
    data = data.replace(b"\\\\", b"\x01\x01")
    if _surrogates(data) > MAX_SURROGATES:
        raise TooComplex(_TOO_COMPLEX)
    return _LONE_SURROGATE.sub(rb"\\ufffd", data).replace(b"\x01\x01", b"\\\\")


def _surrogates(data: bytes) -> int:
    return data.count(b"\\ud") + data.count(b"\\uD")


def _without_constants(data: bytes) -> bytes:
    """Write the document anew, with null for NaN and Infinity."""
    if b"NaN" not in data and b"Infinity" not in data:
        return data
    if len(data) > MAX_LENIENT_BYTES:
        raise TooComplex(_TOO_COMPLEX)
    try:
        value = json.loads(data, parse_int=_integer, parse_float=_float, parse_constant=_nothing)
        return msgspec.json.encode(value)
    except (ValueError, RecursionError):
        raise NotJson(_NOT_AN_OBJECT) from None


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


def _twice(data: bytes, watched: Collection[str]) -> tuple[tuple[str, Raw], ...]:
    """The watched members whose name stands more than once, in any spelling of its escapes."""
    top: list[tuple[str, object]] = []

    def built(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal top  # objects are built from the inside out: the last one is the document
        top = pairs
        return {}

    json.loads(data, object_pairs_hook=built, parse_int=_integer, parse_float=_float)
    names = Counter(name for name, _ in top)
    if len(top) > MAX_MEMBERS:
        raise TooComplex(_TOO_COMPLEX)
    return tuple((name, _raw(value)) for name, value in top if name in watched and names[name] > 1)


def _raw(value: object) -> Raw:
    # A string's length says nothing about its truth beyond the few words for it.
    return Raw(msgspec.json.encode(value[:ID_BYTES] if isinstance(value, str) else value))


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= _LONGEST_COUNT else -MAX_COUNT if digits[0] == "-" else MAX_COUNT


def _float(digits: str) -> float:
    return max(-sys.float_info.max, min(float(digits), sys.float_info.max))


def _nothing(_: str) -> object:
    return None
