from dataclasses import replace

import pytest
from pydantic import SecretStr

from sidecar.core.admission import ANOTHER_PAGE, Admitted, admit, length
from sidecar.core.credentials import Credential
from sidecar.core.events import Headers, Side
from sidecar.core.policy import Bounds, Policy, Provider
from sidecar.core.records import CredentialKind
from sidecar.core.refusals import NOT_FOUND, TOO_LARGE, refusal, unidentified
from sidecar.core.replies import Refuse
from sidecar.core.routes import Route, Treatment

OPENAI = Provider(
    name="openai", type="openai", base_url="https://api.openai.com/v1", api_key=SecretStr("sk-central-0123456789")
)
POLICY = Policy(providers={"openai": OPENAI}, bounds=Bounds(request_bytes=100))
POST = ((":method", "POST"), (":path", "/openai/v1/responses"))
ACTOR = ("x-forwarded-user", "alice")


def block(*pairs: tuple[str, str]) -> Headers:
    return Headers(side=Side.REQUEST, at=0.0, pairs=pairs)


def test_a_request_with_a_route_an_actor_and_a_key_may_go_on() -> None:
    headers = block(*POST, ACTOR)
    assert admit(headers, POLICY) == Admitted(
        headers=headers,
        route=Route(provider=OPENAI, treatment=Treatment.INTERCEPT, path="/openai/v1/responses"),
        actor="alice",
        actor_metadata={},
        credential=Credential(
            kind=CredentialKind.CENTRALIZED, hint="sk-c...6789", secret=SecretStr("sk-central-0123456789")
        ),
    )


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ((), NOT_FOUND),
        (((":method", "POST"), (":path", "/openai/v1/embeddings"), ACTOR), NOT_FOUND),
        (
            ((":method", "PATCH"), (":path", "/openai/v1/responses/r"), ACTOR),
            refusal(405, "method not allowed", ("allow", "DELETE, GET")),
        ),
        ((*POST, ACTOR, ("content-length", "101")), TOO_LARGE),
        (POST, unidentified("no actor found")),
        ((*POST, ACTOR, ACTOR), unidentified("more than one actor found: x-forwarded-user must be sent once")),
    ],
)
def test_what_the_headers_give_away_is_refused(pairs: tuple[tuple[str, str], ...], expected: Refuse) -> None:
    assert admit(block(*pairs), POLICY) == expected


@pytest.mark.parametrize("kind", [None, "text/plain", "Text/Plain; charset=utf-8", "multipart/form-data; boundary=x"])
def test_a_page_of_another_site_spends_nobodys_money(kind: str | None) -> None:
    """A browser sends this for any page, to loopback too, and there a default actor may pay."""
    policy = replace(POLICY, default_actor="me")
    typed = (("content-type", kind),) if kind else ()
    assert admit(block(*POST, *typed, ("sec-fetch-site", "cross-site")), policy) == ANOTHER_PAGE
    for site in ("same-origin", "same-site", "none"):
        assert isinstance(admit(block(*POST, *typed, ("sec-fetch-site", site)), policy), Admitted)
    assert admit(block(*POST, *typed, ("origin", "https://evil.example")), policy) == ANOTHER_PAGE
    asked_first = ("content-type", "application/json; charset=utf-8")
    assert isinstance(admit(block(*POST, asked_first, ("sec-fetch-site", "cross-site")), policy), Admitted)
    models = ((":method", "GET"), (":path", "/openai/v1/models"), ("sec-fetch-site", "cross-site"))
    assert isinstance(admit(block(*models), policy), Admitted)  # whose answer no page can read


def test_without_a_key_the_operator_is_told_which_setting_is_missing() -> None:
    policy = replace(POLICY, providers={"openai": replace(OPENAI, api_key=None)})
    assert admit(block(*POST, ACTOR), policy) == refusal(
        500, "no key for provider openai: set providers.api_key or api_key_file"
    )


def test_the_reasons_have_an_order() -> None:
    """A route comes before a size, a size before an actor, an actor before a key."""
    policy = replace(POLICY, providers={"openai": replace(OPENAI, api_key=None)})
    assert admit(block(*POST, ("content-length", "101")), policy) == TOO_LARGE
    assert admit(block(*POST), policy) == unidentified("no actor found")
    assert admit(block((":method", "POST"), (":path", "/x"), ("content-length", "101")), policy) == NOT_FOUND


def test_what_passes_through_may_be_of_any_length() -> None:
    """It is never held here."""
    pairs = ((":method", "POST"), (":path", "/openai/v1/conversations"), ACTOR, ("content-length", "101"))
    assert isinstance(admit(block(*pairs), POLICY), Admitted)


@pytest.mark.parametrize(("announced", "expected"), [("100", 100), ("-1", 0)])
def test_a_length_is_a_count_or_nothing(announced: str, expected: int) -> None:
    assert length(block(("content-length", announced))) == expected


def test_without_the_header_nothing_is_announced() -> None:
    assert length(block()) == 0
