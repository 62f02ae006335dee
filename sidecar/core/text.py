"""Values from outside, made fit to be stored: what no column or encoder could hold is replaced, what is long is cut."""

import hashlib

ID_BYTES = 1024
MAX_COUNT = 2**63 - 1


def clean(value: str, limit: int = ID_BYTES) -> str:
    """`value` without U+0000 and lone surrogates (U+FFFD instead), at most `limit` bytes of UTF-8."""
    data = _encoded(value)
    return data.decode() if len(data) <= limit else data[:limit].decode("utf-8", "ignore")


def excerpt(value: str, limit: int) -> str:
    """Like `clean`; what was cut is told at the end, with the whole's length in bytes and SHA-256."""
    data = _encoded(value)
    if len(data) <= limit:
        return data.decode()
    digest = hashlib.sha256(data).hexdigest()
    return f"{data[:limit].decode('utf-8', 'ignore')}… [cut at {limit} of {len(data)} bytes, sha256 {digest}]"


def clamp(count: int) -> int:
    """A count that fits the databases' 64 bits and is not negative."""
    return max(0, min(count, MAX_COUNT))


def _encoded(value: str) -> bytes:
    if "\0" in value:
        value = value.replace("\0", "\ufffd")
    try:
        return value.encode()
    except UnicodeEncodeError:
        # A round trip through UTF-16 joins surrogate pairs and replaces what has no partner.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
