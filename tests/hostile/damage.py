"""What hypothesis does to sound bytes: changes, cuts, doubles and fills them."""

from hypothesis import settings
from hypothesis import strategies as st

HALF = settings(max_examples=settings().max_examples // 2)  # of an example that costs a dozen milliseconds
FEW = settings(max_examples=settings().max_examples // 10)
Edit = tuple[int, str, bytes]
_PLACES = st.integers(0, 2**20)
_ODD = st.binary(max_size=12) | st.sampled_from([
    b"\0", b"\r", b"\n", b"\r\n\r\n", b"\n\n", b"\xff", b"\x80", b"\xef\xbb\xbf", b'"', b"\\", b"{", b"]", b",",
    rb"\ud800", rb"\u0000", b"NaN", b"-1e999", b"9" * 40, b"[" * 3000, b'{"":' * 1500, b"data: ", b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
])  # fmt: skip
EDITS = st.lists(st.tuples(_PLACES, st.sampled_from(["put", "over", "cut", "double", "flip"]), _ODD), max_size=4)


def damaged(data: bytes, edits: list[Edit]) -> bytes:
    """`data` after these edits, one after the other; a place is taken modulo what there is."""
    for place, what, odd in edits:
        data = _edited(data, place % (len(data) + 1), what, odd)
    return data


def _edited(data: bytes, at: int, what: str, odd: bytes) -> bytes:
    match what:
        case "put":
            return data[:at] + odd + data[at:]
        case "over":
            return data[:at] + odd + data[at + len(odd) :]
        case "cut":
            return data[:at]
        case "double":
            return data + data[at:]
        case _:
            return data[:at] + bytes(byte ^ 1 << at % 8 for byte in data[at : at + 1]) + data[at + 1 :]
