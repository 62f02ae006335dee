from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.events import Headers, Side
from sidecar.core.identity import CLIENT_HEADER, NOBODY, Unidentified, actor, metadata
from sidecar.core.policy import Policy, Source

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


def proved(source: Source, *pairs: tuple[str, str], **found: str) -> str | Unidentified:
    """Who asks, where `found` is what Envoy says of the connection; every header names another."""
    names = {"uri": "connection.uri_san_peer_certificate", "dns": "connection.dns_san_peer_certificate"}
    headers = Headers(
        side=Side.REQUEST,
        at=0.0,
        pairs=(("x-forwarded-user", "mallory"), ("authorization", "mallory"), *pairs),
        attributes={names[name]: value for name, value in found.items()},
    )
    return actor(headers, Policy(providers={}, source=source))


def claiming(**claims: object) -> Headers:
    """A request with a token, and with every header by which a client might try to claim more."""
    spoof = tuple(
        (name, "mallory") for name in ("x-forwarded-user", "sub", "x-jwt-payload", "x-ai-bridge-actor-client")
    )
    return Headers(side=Side.REQUEST, at=0.0, pairs=spoof, claims=claims)


TOKENS = Policy(providers={}, source=Source.JWT, metadata_claims=("email", "groups", "level", "share", "admin", "none"))


def test_a_token_s_subject_is_the_actor() -> None:
    assert actor(claiming(sub=" grace "), TOKENS) == "grace"
    assert actor(claiming(sub="grace", email="g@navy.example"), replace(TOKENS, claim="email")) == "g@navy.example"


@pytest.mark.parametrize("subject", [None, "", " ", 17.0, True, ["grace"], {"a": "grace"}])
def test_a_subject_that_is_no_text_names_nobody(subject: object) -> None:
    assert actor(claiming(sub=subject), TOKENS) == NOBODY
    assert actor(claiming(), TOKENS) == NOBODY


def test_no_default_stands_in_for_a_proof() -> None:
    """The settings refuse one; nor would it have an effect."""
    for source in (Source.JWT, Source.MTLS, Source.API_KEY):
        assert actor(request(), Policy(providers={}, source=source, default_actor="me")) == NOBODY


def test_further_claims_are_metadata_as_text() -> None:
    claims = claiming(
        sub="grace",
        email=" g@navy.example",
        groups=["a", {"b": None}],
        level=7.0,
        share=0.5,
        admin=True,
        none="",
        more="x",
    )
    assert metadata(claims, TOKENS) == {
        "email": "g@navy.example",
        "groups": '["a",{"b":null}]',
        "level": "7",
        "share": "0.5",
        "admin": "true",
    }
    assert metadata(claims, Policy(providers={}, metadata_claims=("email",))) == {}


def test_a_certificate_names_its_workload() -> None:
    assert proved(Source.MTLS, uri="spiffe://mesh/agent", dns="agent.example") == "spiffe://mesh/agent"
    assert proved(Source.MTLS, uri="https://elsewhere", dns="agent.example") == "agent.example"
    assert proved(Source.MTLS, dns="agent.example") == "agent.example"
    assert proved(Source.MTLS, uri="https://elsewhere") == NOBODY
    assert proved(Source.MTLS, ("x-forwarded-client-cert", "URI=spiffe://mesh/root")) == NOBODY


def test_a_key_s_owner_is_who_envoy_says() -> None:
    assert proved(Source.API_KEY, (CLIENT_HEADER, "grace")) == "grace"
    assert proved(Source.API_KEY) == NOBODY
    assert proved(Source.API_KEY, (CLIENT_HEADER, "grace"), (CLIENT_HEADER, "mallory")) == Unidentified(
        message=f"more than one actor found: {CLIENT_HEADER} must be sent once"
    )


@pytest.mark.parametrize(
    ("address", "believed"),
    [
        ("10.1.2.3:4", True),
        ("[::ffff:10.1.2.3]:4", True),
        ("[fd00::1]:4", True),
        ("11.1.2.3:4", False),
        ("[::1]:4", False),
        ("/run/some.sock", False),
        ("", False),
        ("10.1.2.3", False),
        ("x:y", False),
    ],
)
def test_a_header_is_believed_from_trusted_addresses_alone(address: str, believed: bool) -> None:  # noqa: FBT001
    trusted = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    policy = Policy(providers={}, trusted=trusted, default_actor="me")
    said, silent = (
        Headers(side=Side.REQUEST, at=0.0, pairs=pairs, attributes={"source.address": address})
        for pairs in ((("x-forwarded-user", "alice"), ("x-forwarded-for", "10.1.2.3")), ())
    )
    refused = Unidentified(message="x-forwarded-user is not believed from this address")
    assert actor(said, policy) == ("alice" if believed else refused)
    assert actor(silent, policy) == ("me" if believed else refused)
