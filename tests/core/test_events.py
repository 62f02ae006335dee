import pytest

from sidecar.core.events import NOTHING, Body, Headers, Side

HEADERS = Headers(
    side=Side.RESPONSE, at=1.5, pairs=((":status", "200"), ("set-cookie", "a"), ("x", ""), ("set-cookie", "b"))
)


def test_every_value_of_a_repeated_header_is_found_in_order() -> None:
    assert list(HEADERS.all("set-cookie")) == ["a", "b"]


def test_the_first_value_of_a_header_is_found() -> None:
    assert HEADERS.first("set-cookie") == "a"


def test_an_empty_header_is_not_a_missing_one() -> None:
    assert HEADERS.first("x") == ""
    assert HEADERS.first("y") is None
    assert list(HEADERS.all("y")) == []


def test_a_name_is_exact() -> None:
    """Who reads `_` as `-` says so."""
    assert HEADERS.first("set_cookie") is None


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("0", 0),
        ("007", 7),
        ("9" * 19, 10**19 - 1),
        ("9" * 20, None),
        ("", None),
        ("+1", None),
        ("-1", None),
        ("1e3", None),
        ("\u0663", None),
    ],
)
def test_a_header_counts_in_plain_digits(value: str, read: int | None) -> None:
    assert Headers(side=Side.REQUEST, at=0.0, pairs=(("age", value),)).count("age") == read


def test_a_header_that_is_not_there_counts_nothing() -> None:
    assert HEADERS.count("age") is None


def test_headers_alone_have_no_end_and_no_attributes() -> None:
    assert HEADERS.end is False
    assert HEADERS.attributes == NOTHING == {}


def test_events_are_values() -> None:
    assert Body(side=Side.REQUEST, at=0.0, data=b"x") == Body(side=Side.REQUEST, at=0.0, data=b"x", end=False)
