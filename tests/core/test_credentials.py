from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from pydantic import SecretStr

from sidecar.core.credentials import Credential, choose, hint, shows, value
from sidecar.core.events import Headers, Side
from sidecar.core.policy import Provider
from sidecar.core.records import CredentialKind

KEY = "sk-central-0123456789"
TOKEN = "sk-user-0123456789abcdefghijkl"  # noqa: S105  made up
OPENAI = Provider(name="openai", type="openai", base_url="https://api.openai.com/v1", api_key=SecretStr(KEY))
ADDED = replace(OPENAI, api_key=None, hint="sk-c...6789")
CENTRAL = Credential(kind=CredentialKind.CENTRALIZED, hint="sk-c...6789", secret=SecretStr(KEY))
UNKNOWN = structs.replace(CENTRAL, secret=None)
BYOK = Credential(kind=CredentialKind.BYOK, hint="sk-u...ijkl", secret=SecretStr(TOKEN))


def request(*authorization: str) -> Headers:
    return Headers(side=Side.REQUEST, at=0.0, pairs=tuple(("authorization", value) for value in authorization))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", " bEARER", "Bearer \t"])
def test_a_bearer_token_is_the_clients_own_key(scheme: str) -> None:
    assert choose(request(f"{scheme} {TOKEN} "), OPENAI, identity_header="x-forwarded-user") == BYOK


@pytest.mark.parametrize(
    "sent",
    [
        (),
        ("",),
        ("Bearer",),
        (TOKEN,),
        (f"Bearer{TOKEN}",),
        (f"Bearer {TOKEN} more",),
        (f"Basic {TOKEN}",),
        (f"Bearer {TOKEN}", f"Bearer {TOKEN}"),
        (f"Bearer {TOKEN},Bearer {TOKEN}",),
        ("", f"Bearer {TOKEN}"),
    ],
)
def test_anything_else_gets_the_central_key(sent: tuple[str, ...]) -> None:
    assert choose(request(*sent), OPENAI, identity_header="x-forwarded-user") == CENTRAL


def test_a_provider_can_refuse_the_clients_keys() -> None:
    """A stock SDK always sends some bearer."""
    provider = replace(OPENAI, byok=False)
    assert choose(request(f"Bearer {TOKEN}"), provider, identity_header="x-forwarded-user") == CENTRAL


@pytest.mark.parametrize("name", ["authorization", "Authorization"])
def test_what_authenticates_the_actor_is_no_key(name: str) -> None:
    assert choose(request(f"Bearer {TOKEN}"), OPENAI, identity_header=name) == CENTRAL


@pytest.mark.parametrize("key", [None, SecretStr("")])
def test_without_a_configured_key_there_is_none(key: SecretStr | None) -> None:
    provider = replace(OPENAI, api_key=key)
    assert choose(request(), provider, identity_header="x-forwarded-user") is None
    assert choose(request(f"Bearer {TOKEN}"), provider, identity_header="x-forwarded-user") == BYOK


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (0, "..."),
        (1, "..."),
        (4, "..."),
        (5, "a...e"),
        (9, "a...i"),
        (10, "ab...ij"),
        (19, "ab...rs"),
        (20, "abcd...qrst"),
        (21, "abcd...rstu"),
    ],
)
def test_a_hint_shows_what_the_length_can_spare(length: int, shown: str) -> None:
    assert hint("abcdefghijklmnopqrstu"[:length]) == shown


def test_a_hint_can_be_stored() -> None:
    assert hint("\0bcd\udcff") == "\ufffd...\ufffd"


@pytest.mark.parametrize(
    ("auth_header", "sent"),
    [("authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}"), ("Api-Key", KEY)],
)
def test_a_key_is_sent_as_its_header_wants_it(auth_header: str, sent: str) -> None:
    assert value(auth_header, SecretStr(KEY)) == SecretStr(sent)


def test_no_repr_shows_a_key() -> None:
    assert KEY not in f"{CENTRAL!r} {value('authorization', SecretStr(KEY))!r}"


@pytest.mark.parametrize("sent", [(), ("",), (f"Basic {TOKEN}",)])
def test_of_a_key_that_envoy_adds_a_hint_is_known(sent: tuple[str, ...]) -> None:
    assert choose(request(*sent), ADDED, identity_header="x-forwarded-user") == UNKNOWN


def test_a_clients_own_key_goes_before_one_that_envoy_adds() -> None:
    assert choose(request(f"Bearer {TOKEN}"), ADDED, identity_header="x-forwarded-user") == BYOK


@pytest.mark.parametrize(
    "word",
    [KEY, f"xx{KEY}xx", KEY[3:12], "extra-secret", "xx-extra-secret-xx", "extra-se"],
)
def test_what_an_answer_says_of_a_key_is_seen(word: str) -> None:
    assert shows(word, CENTRAL, ["extra-secret", "abc"])


@pytest.mark.parametrize("word", ["invalid_api_key", KEY[3:10], "extra-s", "abc", "xxabcxxxxx", ""])
def test_what_is_nothing_like_a_key_is_not(word: str) -> None:
    assert not shows(word, CENTRAL, ["extra-secret", "abc"])


@pytest.mark.parametrize(
    ("key", "word", "is_like_it"),
    [
        (KEY, KEY, True),
        (KEY, f"xx{KEY}xx", True),
        (KEY, "sk-c*****", True),
        (KEY, "*****6789", True),
        (KEY, "sk-", False),
        (KEY, "invalid_api_key", False),
        (KEY, "extra-secret", True),
        ("key-of-12-ch", "key-of-12-ch", True),
        ("key-of-12-ch", "key_expired", False),
        ("key", "anything", True),
    ],
)
def test_an_unknown_key_is_told_by_its_hint(key: str, word: str, is_like_it: bool) -> None:  # noqa: FBT001
    """What is too short to be hinted at is like everything."""
    assert shows(word, structs.replace(UNKNOWN, hint=hint(key)), ["extra-secret"]) is is_like_it


@given(sent=st.lists(st.text(st.characters()) | st.text(" bearBEAR\t\0\udcff").map("Bearer {}".format), max_size=2))
def test_whatever_is_sent_some_key_is_chosen(sent: list[str]) -> None:
    credential = choose(request(*sent), OPENAI, identity_header="x-forwarded-user")
    assert credential is not None
    assert len(credential.hint) <= 11
