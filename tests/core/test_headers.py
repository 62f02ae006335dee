import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from pydantic import SecretStr

from sidecar.core.credentials import Credential
from sidecar.core.events import Headers, Side
from sidecar.core.headers import CREDENTIALS, Changes, changes
from sidecar.core.policy import Provider
from sidecar.core.records import CredentialKind

OPENAI = Provider(name="openai", type="openai", base_url="https://api.openai.com/v1")
KEYED = replace(OPENAI, auth_header="Api-Key")
GOOGLE = replace(OPENAI, auth_header="x-goog-api-key")
CENTRAL = Credential(kind=CredentialKind.CENTRALIZED, hint="...", secret=SecretStr("central"))
BYOK = Credential(kind=CredentialKind.BYOK, hint="...", secret=SecretStr("own"))
ADDED = structs.replace(CENTRAL, secret=None)
BEARER = ("authorization", SecretStr("Bearer central"))
PLAIN = ("accept-encoding", "identity")


def alter(  # noqa: PLR0913  each test names the one fact it is about
    names: Iterable[str],
    provider: Provider = OPENAI,
    credential: Credential = CENTRAL,
    *,
    metadata: Mapping[str, str] = MappingProxyType({}),
    identity_header: str = "x-forwarded-user",
    also: Mapping[str, str] = MappingProxyType({}),
) -> Changes:
    headers = Headers(side=Side.REQUEST, at=0.0, pairs=tuple((name, "x") for name in names))
    return changes(
        headers,
        provider,
        credential,
        actor="alice",
        actor_metadata=metadata,
        identity_header=identity_header,
        also=also,
    )


@pytest.mark.parametrize(
    "name",
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "upgrade",
        "transfer_encoding",
        "x-api-key",
        "x_api_key",
        "x-api_key",
        "api-key",
        "cookie",
        "x-auth-request-access-token",
        "x_auth_request_email",
        "cf-access-jwt-assertion",
        "x-amzn-oidc-data",
        "x-goog-iap-jwt-assertion",
        "x-ms-token-aad-id-token",
        "x-forwarded-for",
        "x-forwarded-user",
        "x_forwarded_user",
        "forwarded",
        "x-envoy-retry-on",
        "x_envoy_upstream_rq_timeout_ms",
        "traceparent",
        "tracestate",
        "baggage",
        "x-ai-bridge-actor",
        "x-ai-bridge-actor-id",
        "x_ai_bridge_actor_metadata_team",
        "openai-organization",
        "openai_project",
        "accept_encoding",
    ],
)
def test_it_is_removed_by_the_name_it_came_under(name: str) -> None:
    assert alter(["accept", name, "user-agent"]).remove == (name,)


@pytest.mark.parametrize(
    "name",
    [
        "user-agent",
        "openai-beta",
        "session_id",
        "x-request-id",
        "content-type",
        "content-encoding",
        "x-stainless-lang",
        "x-auth",
        "forwarded-x",
        "x-api-key-id",
        "content_length",
        "",
    ],
)
def test_everything_else_passes(name: str) -> None:
    assert alter([name]) == Changes(set=(PLAIN, BEARER), remove=())


@pytest.mark.parametrize("name", [":path", ":x-envoy-", "host", "content-length", "transfer-encoding"])
def test_what_envoy_owns_is_left_alone(name: str) -> None:
    """Envoy fails a request whose processor touches these."""
    provider = replace(OPENAI, extra_headers={name: "x"})
    assert alter([name], provider, identity_header=name, also={name: "x"}) == Changes(set=(PLAIN, BEARER), remove=())


def test_what_is_set_is_not_removed_as_well() -> None:
    """Which of the two Envoy does first is its own affair; setting overwrites."""
    sent = ["authorization", "accept-encoding", "authorization"]
    assert alter(sent) == Changes(set=(PLAIN, BEARER), remove=())


def test_a_repeated_header_is_removed_once() -> None:
    assert alter(["x-api-key", "x_api_key", "x-api-key"]).remove == ("x-api-key", "x_api_key")


def test_the_client_chooses_its_account_with_its_own_key_only() -> None:
    sent = ["openai-organization", "openai-project"]
    assert alter(sent, credential=BYOK) == Changes(set=(PLAIN, ("authorization", SecretStr("Bearer own"))), remove=())
    assert alter(sent, credential=CENTRAL).remove == ("openai-organization", "openai-project")


def test_cookies_pass_where_the_provider_wants_them() -> None:
    assert alter(["cookie"], replace(OPENAI, pass_cookies=True)).remove == ()


def test_the_identity_header_goes_no_further() -> None:
    sent = ["x-actor", "x_actor", "remote-user"]
    assert alter(sent, identity_header="X-Actor").remove == ("x-actor", "x_actor")


def test_the_key_stands_in_the_providers_own_header() -> None:
    """And the client's authorization, which no setting overwrites then, is removed."""
    assert alter(["authorization", "api-key", "api_key"], KEYED) == Changes(
        set=(PLAIN, ("api-key", SecretStr("central"))), remove=("authorization", "api_key")
    )


@pytest.mark.parametrize(
    ("provider", "sent"),
    [(OPENAI, ["authorization"]), (KEYED, ["authorization", "api-key", "api_key"]), (GOOGLE, ["x-goog_api-key"])],
)
def test_what_envoy_adds_finds_its_header_empty(provider: Provider, sent: list[str]) -> None:
    assert alter(sent, provider, ADDED) == Changes(set=(PLAIN,), remove=tuple(sent))


def test_nothing_else_is_set_where_envoy_adds_the_key() -> None:
    provider = replace(GOOGLE, auth_header="X-Key", extra_headers={"x_key": "1", "X-Key": "2"})
    assert alter((), provider, ADDED, also={"x-key": "3"}).set == (PLAIN,)
    told = replace(provider, send_actor_headers=True, auth_header="x-ai-bridge-actor-id")
    assert alter((), told, ADDED).set[-1] == PLAIN


def test_extra_headers_are_set_and_their_other_spellings_removed() -> None:
    provider = replace(OPENAI, extra_headers={"OpenAI-Project": "p", "x_team": "t"})
    assert alter(["openai-project", "openai_project", "x-team", "x_team"], provider) == Changes(
        set=(("openai-project", "p"), ("x_team", "t"), PLAIN, BEARER), remove=("openai_project", "x-team")
    )


def test_extra_headers_change_neither_the_key_nor_the_encoding() -> None:
    extra = {"Api_Key": "x", "api-key": "x", "Accept-Encoding": "gzip"}
    assert alter([], replace(KEYED, extra_headers=extra)).set == (PLAIN, ("api-key", SecretStr("central")))


def test_more_can_be_set_in_the_same_breath() -> None:
    """A time-out that the client asked for must not be removed together with ours."""
    ours = {"x-envoy-upstream-rq-timeout-ms": "600000"}
    assert alter(["x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq_timeout_ms"], also=ours) == Changes(
        set=(("x-envoy-upstream-rq-timeout-ms", "600000"), PLAIN, BEARER),
        remove=("x-envoy-upstream-rq_timeout_ms",),
    )


def test_the_actor_is_told_where_the_provider_shall_know() -> None:
    provider = replace(OPENAI, send_actor_headers=True, extra_headers={"x-ai-bridge-actor-id": "nobody"})
    sent = ["x-ai-bridge-actor-id", "x_ai_bridge_actor_id", "x-ai-bridge-actor-metadata-role"]
    assert alter(sent, provider, metadata={"team": "red", "Cost_Centre \u00e9": "7"}) == Changes(
        set=(
            ("x-ai-bridge-actor-id", "alice"),
            PLAIN,
            ("x-ai-bridge-actor-metadata-team", "red"),
            ("x-ai-bridge-actor-metadata-cost-centre--", "7"),
            BEARER,
        ),
        remove=("x_ai_bridge_actor_id", "x-ai-bridge-actor-metadata-role"),
    )


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("Alice <alice@example.com>", "Alice <alice@example.com>"),
        ("a\r\nauthorization: b", "a%0D%0Aauthorization: b"),
        ("a\0\tb\x7f", "a%EF%BF%BD%09b%7F"),
        ("J\u00fcrgen \u65e5", "J%C3%BCrgen %E6%97%A5"),
        ("100%", "100%25"),
        ("\udcff", "%EF%BF%BD"),
    ],
)
def test_a_value_is_written_so_that_a_header_can_carry_it(value: str, sent: str) -> None:
    provider = replace(OPENAI, send_actor_headers=True)
    assert alter([], provider, metadata={"k": value}).set[2] == ("x-ai-bridge-actor-metadata-k", sent)


TEXT = st.text(st.characters())


@given(metadata=st.dictionaries(TEXT, TEXT))
def test_whatever_the_metadata_holds_the_headers_are_headers(metadata: dict[str, str]) -> None:
    """And the values can be read back, but for what `text.clean` replaces."""
    told = alter([], replace(OPENAI, send_actor_headers=True), metadata=metadata).set[2:-1]
    assert all(re.fullmatch(r"x-ai-bridge-actor-metadata-[a-z0-9.-]*", name) for name, _ in told)
    assert all(isinstance(value, str) and re.fullmatch(r"[\x20-\x7e]*", value) for _, value in told)


@given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200))
def test_no_two_actors_look_alike(value: str) -> None:
    told = alter([], replace(OPENAI, send_actor_headers=True), metadata={"k": value}).set[2][1]
    assert isinstance(told, str)
    assert unquote(told) == value


SECRETS = [*sorted(CREDENTIALS), "proxy-authorization", "cookie", "x-forwarded-user", "x-forwarded-access-token",
           "x-auth-request-access-token", "cf-access-jwt-assertion", "x-amzn-oidc-accesstoken",
           "x-goog-iap-jwt-assertion", "x-ms-token-aad-access-token", "x-ai-bridge-actor-id"]  # fmt: skip
SPELT = st.tuples(st.sampled_from(SECRETS), st.lists(st.booleans(), min_size=9, max_size=9)).map(
    lambda drawn: "".join(f"{part}{'_' if under else '-'}" for part, under in _parts(*drawn))[:-1]
)


def _parts(name: str, unders: list[bool]) -> Iterable[tuple[str, bool]]:
    return zip(name.split("-"), unders, strict=False)


@given(
    names=st.lists(SPELT | TEXT),
    provider=st.sampled_from([OPENAI, KEYED, replace(OPENAI, send_actor_headers=True)]),
    credential=st.sampled_from([CENTRAL, BYOK]),
)
def test_no_spelling_of_a_credential_survives(names: list[str], provider: Provider, credential: Credential) -> None:
    """Whatever else arrives, and in whichever order Envoy sets and removes."""
    done = alter(names, provider, credential)
    ours = {name for name, _ in done.set}
    left = set(names) - set(done.remove) - ours
    assert ours.isdisjoint(done.remove)
    assert len(set(done.remove)) == len(done.remove)
    assert left.isdisjoint(SECRETS)
    assert {name.replace("_", "-") for name in left}.isdisjoint(SECRETS)
