import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.text import MAX_COUNT, clamp, clean, excerpt, utf8

TEXT = st.text(st.characters())


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("", ""),
        ("gr\u00fc\u00df dich \U0001f600", "gr\u00fc\u00df dich \U0001f600"),
        ("a\0b", "a\ufffdb"),
        ("a\ud83d b", "a\ufffd b"),
        ("\udcff\udcfe", "\ufffd\ufffd"),
        ("\0\ud83d", "\ufffd\ufffd"),
    ],
)
def test_what_cannot_be_stored_is_replaced(value: str, stored: str) -> None:
    assert clean(value) == stored


@pytest.mark.parametrize(
    ("value", "data"),
    [("", b""), ("\u00fc\0", b"\xc3\xbc\0"), ("\u00fc\ud83d\udcff\0", b"\xc3\xbc\xef\xbf\xbd\xef\xbf\xbd\0")],
)
def test_utf8_is_what_any_decoder_reads(value: str, data: bytes) -> None:
    """U+0000 is UTF-8 like any other: only what stores it minds."""
    assert utf8(value) == data


def test_what_is_long_is_cut_between_characters() -> None:
    assert clean("a" * 1025) == "a" * 1024
    assert clean("aaa\u00fc", 4) == "aaa"
    assert clean("aaa\u00fc", 5) == "aaa\u00fc"


def test_an_excerpt_within_its_limit_is_the_whole() -> None:
    assert excerpt("gr\u00fc\u00df\0", 9) == "gr\u00fc\u00df\ufffd"


def test_an_excerpt_tells_what_was_cut() -> None:
    """The digest is the whole's, so that a text found elsewhere can be recognised."""
    assert excerpt("abc\u00fc", 4) == (
        "abc\u2026 [cut at 4 of 5 bytes, sha256 dc328be234380d5cd0b224d0dea07ba1602306484556a9ab7e09672413504785]"
    )


@pytest.mark.parametrize(
    ("count", "stored"), [(-1, 0), (0, 0), (7, 7), (2**63 - 1, 2**63 - 1), (2**64 - 1, 2**63 - 1), (10**400, MAX_COUNT)]
)
def test_a_count_fits_64_bits(count: int, stored: int) -> None:
    assert clamp(count) == stored


@given(value=TEXT, limit=st.integers(0, 50))
def test_whatever_comes_can_be_stored(value: str, limit: int) -> None:
    stored = clean(value, limit)
    assert len(stored.encode()) <= limit
    assert "\0" not in stored


@given(value=TEXT, limit=st.integers(0, 50))
def test_an_excerpt_is_clean_and_short(value: str, limit: int) -> None:
    stored = excerpt(value, limit)
    whole = clean(value, 10**6)
    assert stored == whole or stored.endswith(f"sha256 {hashlib.sha256(whole.encode()).hexdigest()}]")
    assert len(stored.encode()) <= limit + 120


@given(value=TEXT)
def test_what_is_clean_stays_as_it_is(value: str) -> None:
    assert clean(clean(value)) == clean(value)
