"""Values from outside, made fit to be stored: what no column or encoder could hold is replaced, what is long is cut."""

import hashlib
import re

ID_BYTES = 1024
MAX_COUNT = 2**63 - 1

# How UTF-8 would spell the code points U+D800 to U+DFFF, which it must not (RFC 3629, section 3).
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_REPLACEMENT = "\ufffd".encode()


def clean(value: str, limit: int = ID_BYTES) -> str:
    """`value` without U+0000 and lone surrogates (U+FFFD instead), at most `limit` bytes of UTF-8."""
    if value.isascii() and len(value) <= limit and "\0" not in value:  # nearly always: it is what it should be
        return value
    data = _storable(value[:limit])  # no character has less than a byte
    return data.decode() if len(data) <= limit else data[:limit].decode("utf-8", "ignore")


def excerpt(value: str, limit: int) -> str:
    """Like `clean`; what was cut is told at the end, with the whole's length in bytes and SHA-256."""
    data = _storable(value)
    if len(data) <= limit:
        return data.decode()
    digest = hashlib.sha256(data).hexdigest()
    return f"{data[:limit].decode('utf-8', 'ignore')}… [cut at {limit} of {len(data)} bytes, sha256 {digest}]"


def clamp(count: int) -> int:
    """A count that fits the databases' 64 bits and is not negative."""
    return max(0, min(count, MAX_COUNT))


def utf8(value: str) -> bytes:
    """`value` in UTF-8, with U+FFFD for each lone surrogate."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub(_REPLACEMENT, value.encode("utf-8", "surrogatepass"))


def _storable(value: str) -> bytes:
    return utf8(value.replace("\0", "\ufffd"))
