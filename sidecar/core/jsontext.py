"""JSON text (RFC 8259), read without building what nobody asked for.

Values stay text (`Raw`) until one is wanted; the others are validated and skipped, which costs no memory. What is
opened is counted, so that reading costs bounded time and memory. What the parser is too strict for is mended first.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import accumulate

import msgspec
from msgspec import Raw, Struct

from sidecar.core import mending
from sidecar.core.errors import SidecarError
from sidecar.core.text import MAX_COUNT, clamp, utf8

# Commas that structure a document, so the values that any array in it can have. A million cost 60 MB and 90 ms.
MAX_VALUES = 1_000_000
# A request of the API has some forty members.
MAX_MEMBERS = 10_000

_SLICE = 262_144
_SMALL = 5 * MAX_MEMBERS  # bytes: so few cannot have more, `"":0,` being the shortest
_FEW_DIGITS = 18  # of which 64 bits hold any
_LONGEST_COUNT = 30  # digits
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ARRAY = msgspec.json.Decoder(list[Raw])
_VALUE = msgspec.json.Decoder(Raw)
_STRING = msgspec.json.Decoder(str)
_MALFORMED = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

# So many characters, or so many times as many as there are, may be blanks once JSON is laid out: a thousand values, all
# below a thousand levels, come to two million.
_ROOM, _TIMES = 262_144, 8
_STEPS = bytes.maketrans(b"[{]},", b"\x01\x01\xff\xff\x00")
_NO_STEP = bytes(set(range(256)) - set(b"[{]},"))

_NOT_BACKSLASH = re.compile(rb"[^\\]")
_INTEGER = re.compile(rb"-?[0-9]+\Z")
_NUMBER = re.compile(rb"-?[0-9]")
_TOO_COMPLEX = "the body has too many values"
_TOO_DEEP = "the body is nested too deeply"
_NOT_UTF8 = "the body is not UTF-8"
_NOT_AN_OBJECT = "the body is not a JSON object"
_BOM = b"\xef\xbb\xbf"


class NotJson(SidecarError):
    """The payload is no JSON object."""


class Document(Struct, frozen=True, kw_only=True):
    """A JSON object. `twice`: the members whose name stands more than once; of these `members` has the last."""

    members: Mapping[str, Raw]
    twice: tuple[tuple[str, Raw], ...] = ()


def strict(data: bytes) -> Document:
    """Return the one object that `data` is by RFC 8259, in UTF-8.

    Raises NotJson (also beyond the parser's nesting bound) or TooComplex.
    """
    if not mending.is_utf8(data):
        raise NotJson(_NOT_UTF8)
    if data.count(b",") > MAX_VALUES and commas(data, MAX_VALUES) > MAX_VALUES:
        raise mending.TooComplex(_TOO_COMPLEX)
    try:
        pairs = _pairs(data)
    except _MALFORMED:
        pairs = _pairs_of(b"".join(mending.without_lone_surrogates(data)))
    found = dict(pairs)
    if len(found) == len(pairs):
        return Document(members=found)
    times = Counter(name for name, _ in pairs)
    return Document(members=found, twice=tuple((name, raw) for name, raw in pairs if times[name] > 1))


def lenient(data: bytes) -> Mapping[str, Raw] | None:
    """Return the members of the object that a lenient reader sees in `data`; None when it sees none.

    Lenient: a BOM, and (up to `mending.MAX_LENIENT_BYTES`) invalid UTF-8, lone surrogates, NaN and Infinity.
    """
    return _at_once(leniently(data), len(data))


def leniently(data: bytes) -> Iterator[Mapping[str, Raw] | None]:
    """Read as `lenient` does: None wherever that takes long, for a pause, and the members in the end.

    Lone surrogates are mended whatever the length. Raises NotJson, or TooComplex (also beyond the nesting bound).
    """
    # Here commas in texts count too: no model writes so many.
    if data.count(b",") > MAX_VALUES:
        raise mending.TooComplex(_TOO_COMPLEX)
    yield from _leniently(data.removeprefix(_BOM))


def value(document: str) -> str | None:
    """Return the JSON text that `document` is, lone surrogates and U+0000 replaced; None when it is none."""
    data = utf8(document)
    try:
        _VALUE.decode(data)
    except _MALFORMED:
        try:
            data = b"".join(mending.without_lone_surrogates(data))
            _VALUE.decode(data)
        except (mending.TooComplex, *_MALFORMED):
            return None
    return mending.without_nul(data).decode()


def members(raw: Raw | None) -> Mapping[str, Raw]:
    """Return the members of an object; none of what is no object, or has too many."""
    if not raw or kind(raw) != "{":
        return {}
    data = bytes(raw)
    try:
        return _members(data)  # nearly always
    except mending.TooComplex:
        return {}
    except _MALFORMED:
        return _at_once(_leniently(data), len(data)) or {}


def items(raw: Raw | None) -> list[Raw]:
    """Return the items of an array, at most `MAX_VALUES` and one; none of what is no array."""
    try:
        return _ARRAY.decode(raw) if raw and kind(raw) == "[" else []
    except RecursionError:  # deeper in our own calls than when the whole document was found sound
        return []


def string(raw: Raw | None) -> str | None:
    """Return a string's value, invalid UTF-8 replaced; None for what is no string."""
    if not raw:
        return None
    try:
        return _STRING.decode(raw)  # it sees by the first character what is none
    except msgspec.ValidationError:
        return None
    except UnicodeDecodeError:
        return _STRING.decode(text(raw)) if len(raw) <= mending.MAX_LENIENT_BYTES else None


def kind(raw: Raw) -> str:
    """Return the character a value begins with: what it is."""
    return chr(memoryview(raw)[0])


def text(raw: Raw) -> str:
    """Return a value's JSON text, as it stands but for invalid UTF-8 and U+0000."""
    return mending.without_nul(bytes(raw)).decode("utf-8", "replace")


def count(raw: Raw | None) -> int:
    """Return a count: not negative, at most 64 bits; 0 for what is no integer (`5.0` and `1e2` are)."""
    digits = bytes(raw or b"")
    if digits.isdigit() and len(digits) <= _FEW_DIGITS:  # nearly always
        return int(digits)
    if _INTEGER.match(digits):
        return clamp(int(digits) if len(digits) <= _LONGEST_COUNT else -1 if digits.startswith(b"-") else MAX_COUNT)
    if len(digits) > _LONGEST_COUNT or not _NUMBER.match(digits):
        return 0
    number = min(float(digits), float(MAX_COUNT))  # which has no end: 1e999
    return clamp(int(number)) if number.is_integer() else 0


def commas(data: bytes, most: int) -> int:
    """Count the commas outside of strings; stops soon after `most`.

    In slices, each a few C calls: escapes are dropped, then what stands between quotes. A slice never parts an escape.
    """
    found, at, inside = 0, 0, False
    while at < len(data) and found <= most:
        after = _NOT_BACKSLASH.search(data, at + _SLICE)
        end = after.end() if after else len(data)
        parts = mending.without_escapes(data[at:end]).split(b'"')
        found += b"".join(parts[inside::2]).count(b",")
        inside ^= len(parts) % 2 == 0
        at = end
    return found


def pretty(text: str) -> str:
    """JSON over several lines, its values as they were written; what is no JSON, or nested very deeply, as it is."""
    if _indented(text.encode(errors="replace")) > max(_ROOM, _TIMES * len(text)):
        return text
    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return text


class _Name:
    """A member's name that is equal to no other, so that a dict keeps what stands twice."""

    __slots__ = ("text",)

    def __init__(self, _: type, text: str) -> None:
        self.text = text


_NAMED = msgspec.json.Decoder(dict[_Name, Raw], dec_hook=_Name)


def _pairs(data: bytes) -> list[tuple[str, Raw]]:
    """The members of an object in their order; raises one of _MALFORMED, or TooComplex as soon as they are too many."""
    found = (_NAMED if len(data) <= _SMALL else _counting()).decode(data)
    return [(name.text, raw) for name, raw in found.items()]


def _counting() -> msgspec.json.Decoder[dict[_Name, Raw]]:
    names = 0

    def name(kind: type, text: str) -> _Name:
        nonlocal names
        names += 1
        if names > MAX_MEMBERS:
            raise mending.TooComplex(_TOO_COMPLEX)
        return _Name(kind, text)

    return msgspec.json.Decoder(dict[_Name, Raw], dec_hook=name)


def _pairs_of(mended: bytes) -> list[tuple[str, Raw]]:
    try:
        return _pairs(mended)
    except RecursionError:
        raise NotJson(_TOO_DEEP) from None
    except _MALFORMED:
        raise NotJson(_NOT_AN_OBJECT) from None


def _leniently(data: bytes) -> Iterator[Mapping[str, Raw] | None]:
    try:
        yield _members(data)
    except _MALFORMED:
        yield None
    else:
        return
    data = mending.without_odd_bytes(data)
    for mend in (mending.without_constants, mending.without_lone_surrogates):
        pieces = []
        for piece in mend(data):
            pieces.append(piece)
            yield None
        data = b"".join(pieces)
    try:
        yield _members(data)
    except _MALFORMED:
        raise NotJson(_NOT_AN_OBJECT) from None


def _indented(data: bytes) -> int:
    """How many blanks JSON's lines begin with, at most, once it is laid out."""
    outside = b"".join(mending.without_escapes(data).split(b'"')[::2]).translate(_STEPS, _NO_STEP)
    return 2 * sum(accumulate(memoryview(outside).cast("b")))


def _members(data: bytes) -> Mapping[str, Raw]:
    try:
        return _OBJECT.decode(data) if len(data) <= _SMALL else dict(_pairs(data))
    except RecursionError:
        raise mending.TooComplex(_TOO_DEEP) from None


def _at_once(reading: Iterator[Mapping[str, Raw] | None], size: int) -> Mapping[str, Raw] | None:
    """What it comes to; None where that takes too long without a pause."""
    with suppress(NotJson, mending.TooComplex):
        return next(found for found in reading if found is not None or size > mending.MAX_LENIENT_BYTES)
    return None
