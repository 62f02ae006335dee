"""What JSON parsers are too strict for, set right where it stands: lone surrogates, NaN, invalid UTF-8.

RFC 8259 allows the first (section 8.2); the others no JSON has, but what clients and providers send, and other readers
take. Nothing else changes. Time and memory are bounded: beyond, it is TooComplex.
"""

import codecs
import re

from sidecar.core.errors import SidecarError

# Places that are mended, at a microsecond each, and bytes that are searched for NaN or mended as UTF-8.
MAX_MENDED = 20_000
MAX_LENIENT_BYTES = 16_777_216

_SLICE = 262_144
# The escapes of surrogates: the half of a pair alone, and a pair whose first backslash may itself be escaped.
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_SURROGATE = re.compile(rb"%b(?!%b)|(?<!%b)%b|(?<=\\)%b(%b)" % (_HIGH, _LOW, _HIGH, _LOW, _HIGH, _LOW))
_CONSTANT = re.compile(rb"NaN|Infinity")
_TOO_COMPLEX = "the body has too many odd characters"
_REPLACEMENT = rb"\ufffd"


class TooComplex(SidecarError):
    """The payload has more structure than we are willing to read."""


def without_lone_surrogates(data: bytes) -> bytes:
    """Replace each escape of a lone surrogate by that of U+FFFD."""

    def whole(found: re.Match[bytes]) -> bytes:
        escape, second = found[0], found[1]
        if _is_escaped(data, found.start()):
            return escape.removesuffix(second) + _REPLACEMENT if second else escape
        return escape if second else _REPLACEMENT

    mended, places = _SURROGATE.subn(whole, data, MAX_MENDED + 1)
    if places > MAX_MENDED:
        raise TooComplex(_TOO_COMPLEX)
    return mended


def _is_escaped(data: bytes, at: int) -> bool:
    """Whether the backslash at `at` is itself escaped: an odd number of them stands before it."""
    size = 8
    while True:
        before = data[max(0, at - size) : at]
        run = len(before) - len(before.rstrip(b"\\"))
        if run < size:
            return run % 2 == 1
        size *= 8


def without_constants(data: bytes) -> bytes:
    """Write null for NaN and Infinity, where they stand outside of strings."""
    if b"NaN" not in data and b"Infinity" not in data:
        return data
    if len(data) > MAX_LENIENT_BYTES:
        raise TooComplex(_TOO_COMPLEX)
    pieces, at, inside = [], 0, False
    for found in _CONSTANT.finditer(data):
        before = data[at : found.start()]
        inside ^= without_escapes(before).count(b'"') % 2 == 1
        pieces += [before, found[0]] if inside else [before.removesuffix(b"-"), b"null"]
        at = found.end()
        if len(pieces) > 2 * MAX_MENDED:
            raise TooComplex(_TOO_COMPLEX)
    return b"".join([*pieces, data[at:]])


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
        for at in range(0, len(data), _SLICE):
            decoder.decode(data[at : at + _SLICE], at + _SLICE >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def without_escapes(text: bytes) -> bytes:
    """What is left has the quotes that begin and end strings."""
    return text.replace(b"\\\\", b"").replace(b'\\"', b"")
