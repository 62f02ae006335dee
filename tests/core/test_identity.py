import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.events import Headers, Side
from sidecar.core.identity import Unidentified, actor
from sidecar.core.policy import Policy

STRICT = Policy(providers={})
LAPTOP = Policy(providers={}, default_actor="me")


def request(*pairs: tuple[str, str]) -> Headers:
    return Headers(side=Side.REQUEST, at=0.0, pairs=pairs)


def test_the_identity_header_names_the_actor() -> None:
    assert actor(request(("x-forwarded-user", " alice \t")), STRICT) == "alice"


def test_the_identity_header_beats_the_default() -> None:
    assert actor(request(("x-forwarded-user", "alice")), LAPTOP) == "alice"


def test_the_header_is_the_configured_one_in_any_case() -> None:
    policy = Policy(providers={}, identity_header="X-Actor")
    assert actor(request(("x-actor", "bob"), ("x-forwarded-user", "alice")), policy) == "bob"


def test_without_a_header_the_default_stands_in() -> None:
    assert actor(request(), LAPTOP) == "me"


@pytest.mark.parametrize("default", ["", "  "])
def test_no_header_and_no_default_is_no_actor(default: str) -> None:
    policy = Policy(providers={}, default_actor=default)
    assert actor(request(), policy) == Unidentified(message="no actor found")


@pytest.mark.parametrize("policy", [STRICT, LAPTOP])
@pytest.mark.parametrize("blank", ["", "  \t", "\u00a0"])
def test_a_blank_header_is_no_actor_even_with_a_default(policy: Policy, blank: str) -> None:
    """Somebody in front looked and found nobody."""
    assert actor(request(("x-forwarded-user", blank)), policy) == Unidentified(message="no actor found")


@pytest.mark.parametrize("second", ["mallory", "alice", ""])
def test_two_identities_are_none(second: str) -> None:
    """One of them may have come from the client; the message does not repeat them."""
    assert actor(request(("x-forwarded-user", "alice"), ("x-forwarded-user", second)), LAPTOP) == Unidentified(
        message="more than one actor found: x-forwarded-user must be sent once"
    )


@pytest.mark.parametrize("name", ["x_forwarded_user", "x-forwarded_user"])
def test_another_spelling_is_neither_an_identity_nor_a_second_one(name: str) -> None:
    assert actor(request((name, "mallory")), STRICT) == Unidentified(message="no actor found")
    assert actor(request((name, "mallory"), ("x-forwarded-user", "alice")), STRICT) == "alice"


def test_an_actor_can_be_stored() -> None:
    assert actor(request(("x-forwarded-user", "j\u00fcrgen\udcff\0")), STRICT) == "j\u00fcrgen\ufffd\ufffd"
    assert actor(request(("x-forwarded-user", "a" * 2000)), STRICT) == "a" * 1024


@given(values=st.lists(st.text(st.characters()), max_size=3))
def test_whatever_the_header_says_the_actor_is_never_blank(values: list[str]) -> None:
    found = actor(request(*(("x-forwarded-user", value) for value in values)), STRICT)
    assert isinstance(found, Unidentified) or found.strip()
