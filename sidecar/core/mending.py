"""What JSON parsers are too strict for, set right where it stands: lone surrogates, NaN, invalid UTF-8.

RFC 8259 allows the first (section 8.2); the others no JSON has, but what clients and providers send, and other readers
take. Nothing else changes. Time and memory are bounded: beyond, it is TooComplex. What takes long comes piece by piece,
a quarter of a mebibyte each, so that others can have their turn in between.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Final

from sidecar.core.errors import SidecarError

# Places that are mended, at a microsecond each, and bytes that are searched for NaN or mended as UTF-8.
MAX_MENDED = 20_000
MAX_LENIENT_BYTES = 16_777_216

SLICE: Final = 262_144  # bytes of a piece, or some more
# A backslash stands first, so that whatever has none is passed over at some gigabytes a second.
_SURROGATE = re.compile(
    rb"""(?xs)\\u[dD](?:
        [c-fC-F](?<!\\u[dD][89abAB]..\\u[dD].)HH  # a pair's second half, without the first
      | [89abAB]HH(?:
            (?!\\u[dD][c-fC-F])  # its first half, without the second
          | (?<=\\\\u[dD]...)(\\u[dD][c-fC-F]HH)  # both, where the first backslash may itself be escaped
        )
    )""".replace(b"HH", b"[0-9a-fA-F]{2}")
)
_PAIR = 12  # bytes
_CONSTANTS = (b"NaN", b"Infinity")
_BETWEEN = re.compile(rb'[ ,"\n\]}]')  # what parts neither a constant from its minus nor an escape
_TOO_COMPLEX = "the body has too many odd characters"
_REPLACEMENT = rb"\ufffd"
_NUL = rb"\u0000"


class TooComplex(SidecarError):
    """The payload has more structure than we are willing to read."""


def without_lone_surrogates(data: bytes) -> Iterator[bytes]:
    """`data`, piece by piece, with the escape of U+FFFD for that of each lone surrogate."""
    at = places = 0
    while at < len(data):
        pieces, end = [], at + SLICE
        for found in _SURROGATE.finditer(data, at, end + _PAIR):
            if found.start() >= end:
                break
            pieces += [data[at : found.start()], _whole(data, found)]
            at = found.end()
            places += 1
            if places > MAX_MENDED:
                raise TooComplex(_TOO_COMPLEX)
        end = max(at, end)
        yield b"".join([*pieces, data[at:end]])
        at = end


def _whole(data: bytes, found: re.Match[bytes]) -> bytes:
    escape, second = found[0], found[1]
    if _is_escaped(data, found.start()):
        return escape.removesuffix(second) + _REPLACEMENT if second else escape
    return escape if second else _REPLACEMENT


def _is_escaped(data: bytes, at: int) -> bool:
    """Whether the backslash at `at` is itself escaped: an odd number of them stands before it."""
    size = 8
    while True:
        before = data[max(0, at - size) : at]
        run = len(before) - len(before.rstrip(b"\\"))
        if run < size:
            return run % 2 == 1
        size *= 8


def without_nul(text: bytes) -> bytes:
    """JSON text with the escape of U+FFFD for that of U+0000, which PostgreSQL takes for no JSON."""
    if _NUL not in text:
        return text
    # What stands for an escaped backslash meanwhile is a byte that no JSON text has.
    return text.replace(rb"\\", b"\0").replace(_NUL, _REPLACEMENT).replace(b"\0", rb"\\")


def without_constants(data: bytes) -> Iterator[bytes]:
    """`data`, piece by piece, with null for NaN and Infinity where they stand outside of strings."""
    if not any(word in data for word in _CONSTANTS):
        yield data
        return
    if len(data) > MAX_LENIENT_BYTES:
        raise TooComplex(_TOO_COMPLEX)
    inside, places = False, 0
    for piece in _slices(data):
        mended = piece
        for word in _CONSTANTS:
            parts = mended.split(word, MAX_MENDED + 1)
            places += len(parts) - 1
            if places > MAX_MENDED:
                raise TooComplex(_TOO_COMPLEX)
            mended = _without(word, parts, inside=inside)
        inside ^= _turns(piece)
        yield mended


def _slices(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        found = _BETWEEN.search(data, at + SLICE)
        end = found.end() if found else len(data)
        yield data[at:end]
        at = end


def _without(word: bytes, parts: list[bytes], *, inside: bool) -> bytes:
    """The parts joined by null, or by the word that stood between them where that is inside of a string."""
    *others, last = parts
    pieces = []
    for part in others:
        inside ^= _turns(part)
        pieces += [part, word] if inside else [part.removesuffix(b"-"), b"null"]
    return b"".join([*pieces, last])


def _turns(text: bytes) -> bool:
    """Whether one end of `text` is inside of a string and the other is not."""
    return without_escapes(text).count(b'"') % 2 == 1


def without_odd_bytes(data: bytes) -> bytes:
    """Replace what is not UTF-8, as decoders do."""
    if is_utf8(data):
        return data
    if len(data) > MAX_LENIENT_BYTES:
        raise TooComplex(_TOO_COMPLEX)
    return data.decode("utf-8", "replace").encode()


def is_utf8(data: bytes) -> bool:
    """Whether `data` is UTF-8, told without holding all of it a second time."""
    if data.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(data), SLICE):
            decoder.decode(data[at : at + SLICE], at + SLICE >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def without_escapes(text: bytes) -> bytes:
    """What is left has the quotes that begin and end strings."""
    return text.replace(b"\\\\", b"").replace(b'\\"', b"")
