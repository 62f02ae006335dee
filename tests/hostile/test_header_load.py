"""Headers that are too large or too many, by either side, and just not: refused clearly, or passed as they came."""

import pytest

from examples.answers import Answer
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import Connection, Response, ask, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script

LARGE = 100_000
TOO_LARGE = {
    "one value": (("x-large", "x" * LARGE),),
    "one name": (("x" * LARGE, "1"),),
    "many": tuple((f"x-{number}", "x" * 1000) for number in range(LARGE // 1000)),
    "very many": tuple((f"x-{number}", "1") for number in range(2000)),
    "one name many times": (("x-same", "x" * 100),) * 1000,
    "cookies": (("cookie", "a=" + "x" * 1000),) * 100,
    "identities": (("x-forwarded-user", "ada"),) * 1000,
}


def refused(port: int, data: bytes) -> Response | None:
    """The answer, or None where the connection ended before it could be read."""
    with Connection(port) as connection:
        try:
            connection.send(data)
            return connection.response()
        except (EOFError, ConnectionError):
            return None


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_headers_of_a_request_that_are_too_large_or_too_many_are_refused(
    attack: Bridge, provider: ThreadedProvider, case: str, kind: str
) -> None:
    answer = refused(attack.port, request(case, ASKED, *TOO_LARGE[kind]))
    assert answer is None or answer.status == 431
    assert case not in provider.seen
    assert attack.sessions(case) == []


def test_headers_of_a_request_that_just_fit_go_on_as_they_came(
    attack: Bridge, provider: ThreadedProvider, script: Script, case: str
) -> None:
    script[case] = whole(case)
    sent = tuple((f"x-{number}", f"{number}" * 400) for number in range(80))
    assert ask(attack.port, case, ASKED, *sent).status == 200
    (seen,) = provider.seen[case]
    assert [pair for pair in seen.headers if pair[0].startswith("x-") and pair[0][2:].isdigit()] == list(sent)
    assert attack.session(case).ended == ("completed", None, 200)


@pytest.mark.parametrize("kind", ["one value", "one name", "many", "very many"])
def test_headers_of_a_response_that_are_too_large_or_too_many_are_an_error_that_is_recorded(
    attack: Bridge, script: Script, case: str, kind: str
) -> None:
    body = whole(case).body
    script[case] = Answer(body=body, headers=TOO_LARGE[kind])
    response = ask(attack.port, case, ASKED)
    assert response.status in {502, 503}
    assert response.json()["code"] == str(response.status)
    assert attack.ending(case).ended == ("failed", "disconnected", response.status)


def test_headers_of_a_response_that_just_fit_go_on_as_they_came(attack: Bridge, script: Script, case: str) -> None:
    sent = tuple((f"x-{number}", f"{number}" * 250) for number in range(80))
    script[case] = whole(case, headers=sent)
    response = ask(attack.port, case, ASKED)
    assert response.status == 200
    assert [pair for pair in response.headers if pair[0].startswith("x-") and pair[0][2:].isdigit()] == list(sent)
    assert attack.session(case).ended == ("completed", None, 200)
