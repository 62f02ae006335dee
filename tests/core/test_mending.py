import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import mending
from sidecar.core.mending import (
    MAX_LENIENT_BYTES,
    MAX_MENDED,
    SLICE,
    TooComplex,
    is_utf8,
    without_escapes,
    without_odd_bytes,
)

# What a JSON string is made of where it is odd: escapes, halves of them, and what only looks like one.
PIECES = st.sampled_from(
    (
        *(r"\ud83d", r"\uDE00", r"\\", r"\"", r"\n", r"\u0041", "u", "d83d", "a", "é", "😀"),
        "NaN",
        "Infinity",
        "-",
        ",",
        " ",
    )
)
TEXTS = st.lists(PIECES, max_size=12).map(lambda pieces: f'"{"".join(pieces)}"')
LENIENT = st.recursive(
    TEXTS | st.sampled_from(["NaN", "Infinity", "-Infinity", "0", "null"]),
    lambda inner: st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=8,
)


def without_lone_surrogates(data: bytes) -> bytes:
    return b"".join(mending.without_lone_surrogates(data))


def without_constants(data: bytes) -> bytes:
    return b"".join(mending.without_constants(data))


def whole(value: str) -> str:
    """`value` as those see it who know no lone surrogates."""
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in value)


# Lone surrogates


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (rb"", rb""),
        (rb"\ud800", rb"\ufffd"),
        (rb"\uDFff", rb"\ufffd"),
        (rb"\ud83d\ude00", rb"\ud83d\ude00"),
        (rb"\uD83D\uDE00", rb"\uD83D\uDE00"),
        (rb"\ude00\ud83d", rb"\ufffd\ufffd"),
        (rb"\ud83d\ud83d\ude00", rb"\ufffd\ud83d\ude00"),
        (rb"\ud83d \ude00", rb"\ufffd \ufffd"),
        (rb"\\ud83d", rb"\\ud83d"),
        (rb"\\\ud83d", rb"\\\ufffd"),
        (rb"\\ud83d\ude00", rb"\\ud83d\ufffd"),
        (rb"\\\ud83d\ude00", rb"\\\ud83d\ude00"),
        (rb"\ud83d\ude00\ude00", rb"\ud83d\ude00\ufffd"),
        (rb"\ud7ff\ue000", rb"\ud7ff\ue000"),
    ],
)
def test_only_a_lone_surrogate_is_replaced(text: bytes, mended: bytes) -> None:
    """Whether a backslash begins an escape depends on how many stand before it."""
    assert without_lone_surrogates(text) == mended


@pytest.mark.parametrize("backslashes", [7, 8, 9, 64, 65, 100_000, 100_001])
def test_any_run_of_backslashes_is_counted(backslashes: int) -> None:
    run = b"\\" * backslashes
    assert without_lone_surrogates(run + b"ud800") == (
        run + b"ud800" if backslashes % 2 == 0 else run[:-1] + rb"\ufffd"
    )


@given(text=TEXTS)
def test_the_rest_of_a_text_is_what_json_says(text: str) -> None:
    mended = without_lone_surrogates(text.encode())
    assert json.loads(mended) == whole(json.loads(text))


def test_no_more_surrogates_are_replaced_than_the_bound() -> None:
    """What only looks like one counts too: it is looked at."""
    most = rb"\ud800" * MAX_MENDED
    assert without_lone_surrogates(most) == rb"\ufffd" * MAX_MENDED
    for more in (rb"\ud800", rb"\\ud83d\ude00", rb"\\ud800"):
        with pytest.raises(TooComplex):
            without_lone_surrogates(most + more)


def test_pairs_do_not_count() -> None:
    """However many smileys: one half of another does not make the body too complex."""
    pairs = rb"\ud83d\ude00" * (MAX_MENDED + 1)
    assert without_lone_surrogates(pairs + rb"\ud83d") == pairs + rb"\ufffd"


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (rb"\ud800", rb"\ufffd"),
        (rb"\ud83d\ude00", rb"\ud83d\ude00"),
        (rb"\ude00\ud83d", rb"\ufffd\ufffd"),
        (rb"\\ud83d\ude00", rb"\\ud83d\ufffd"),
        (rb"\\\ud83d\ude00", rb"\\\ud83d\ude00"),
    ],
)
def test_a_surrogate_may_stand_where_a_long_text_is_parted(text: bytes, mended: bytes) -> None:
    for before in range(SLICE - 20, SLICE + 2):
        fill = b"x" * before
        assert without_lone_surrogates(fill + text + fill) == fill + mended + fill


@pytest.mark.parametrize("text", [b"x", rb"\\", rb"\ud83d\ude00", rb"\u0041"])
def test_a_long_text_comes_in_pieces(text: bytes) -> None:
    """Others have their turn in between."""
    pieces = list(mending.without_lone_surrogates(rb"\ud800" + text * SLICE))
    assert b"".join(pieces) == rb"\ufffd" + text * SLICE
    assert max(map(len, pieces)) < SLICE + 20


# NaN and Infinity


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (b"[1]", b"[1]"),
        (b"NaN", b"null"),
        (b"[NaN,Infinity, -Infinity]", b"[null,null, null]"),
        (b'{"NaN":NaN}', b'{"NaN":null}'),
        (b'["-Infinity",-Infinity]', b'["-Infinity",null]'),
        (rb'["\"NaN",NaN]', rb'["\"NaN",null]'),
        (rb'["\\",NaN,"NaN"]', rb'["\\",null,"NaN"]'),
        (rb'["\\\"NaN"]', rb'["\\\"NaN"]'),
        (b'["NaNNaN",NaN]', b'["NaNNaN",null]'),
    ],
)
def test_constants_are_null_outside_of_texts(text: bytes, mended: bytes) -> None:
    assert without_constants(text) == mended


@given(text=LENIENT)
def test_the_rest_of_a_document_is_what_a_lenient_reader_says(text: str) -> None:
    assert json.loads(without_constants(text.encode())) == json.loads(text, parse_constant=lambda _: None)


@pytest.mark.parametrize("unit", [b"x", rb"\n", rb"\\", b" ", b"-"])
def test_a_constant_may_stand_where_a_long_document_is_parted(unit: bytes) -> None:
    for size in range(SLICE - 24, SLICE + 4, len(unit)):
        fill = unit * (size // len(unit))
        text = b'["%s",-Infinity, NaN,"%s NaN",NaN]' % (fill, fill)
        assert without_constants(text) == b'["%s",null, null,"%s NaN",null]' % (fill, fill)


def test_a_long_document_comes_in_pieces() -> None:
    pieces = list(mending.without_constants(b"[NaN" + b',"NaN"' * 1000 + b"," * (2 * SLICE) + b"NaN]"))
    assert max(map(len, pieces)) < SLICE + 20


@pytest.mark.parametrize("constant", [b"NaN", b'"NaN"'])
def test_no_more_constants_are_looked_at_than_the_bound(constant: bytes) -> None:
    """In texts or not."""
    assert without_constants(constant * MAX_MENDED) in (b"null" * MAX_MENDED, constant * MAX_MENDED)
    with pytest.raises(TooComplex):
        without_constants(constant * (MAX_MENDED + 1))


# Bytes


@given(data=st.binary(max_size=20) | st.text().map(str.encode))
def test_utf8_is_what_decoders_take_for_it(data: bytes) -> None:
    try:
        expected = data.decode()
    except UnicodeDecodeError:
        assert not is_utf8(data)
        assert without_odd_bytes(data) == data.decode("utf-8", "replace").encode()
    else:
        assert is_utf8(data)
        assert without_odd_bytes(data).decode() == expected


@pytest.mark.parametrize("shift", range(4))
def test_a_long_text_is_looked_at_in_slices_that_may_part_a_character(shift: int) -> None:
    long = b"x" * shift + "😀".encode() * 200_000
    assert is_utf8(long)
    assert not is_utf8(long[:-1])
    assert not is_utf8(long[:400_000] + b"\xff" + long[400_000:])
    assert without_odd_bytes(long) is long
    assert without_odd_bytes(long[:-1]) == long[:-4] + "\ufffd".encode()


@pytest.mark.parametrize(
    ("mend", "odd"), [(without_constants, b" NaN"), (without_constants, b" Infinity"), (without_odd_bytes, b" \xff")]
)
def test_what_is_longer_than_the_bound_is_not_mended(mend: Callable[[bytes], bytes], odd: bytes) -> None:
    """But as it is, it may be as long as it likes."""
    plain = bytes(MAX_LENIENT_BYTES + 1 - len(odd))
    assert mend(plain + b"plain" + odd[:1]) == plain + b"plain "
    with pytest.raises(TooComplex):
        mend(plain + odd)


@pytest.mark.parametrize(
    ("text", "left"),
    [(b"", b""), (rb"\"", b""), (rb"\\", b""), (rb"\\\"", b""), (rb'\\"', b'"'), (rb'a"\n"', rb'a"\n"')],
)
def test_without_escapes_only_the_quotes_of_strings_are_left(text: bytes, left: bytes) -> None:
    assert without_escapes(text) == left
