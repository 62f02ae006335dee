"""Headers that are too large or too many, by either side, and just not: refused clearly, or passed as they came."""

import pytest
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.ext_proc.v3.external_processor_pb2 import HttpHeaders, ProcessingRequest
from grpc import StatusCode

from examples.answers import Answer
from examples.provider import ThreadedProvider
from tests.contract import peer
from tests.e2e.bridges import Bridge
from tests.e2e.connections import Connection, Response, ask, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.hostile.attacked import MIB, forget_peak, memory, peak
from tests.hostile.http2 import exchange, pairs
from tests.hostile.serving import Serving

LARGE = 100_000
VERY_MANY = 100_000
TOO_LARGE = {
    "one value": (("x-large", "x" * LARGE),),
    "one name": (("x" * LARGE, "1"),),
    "many": tuple((f"x-{number}", "x" * 1000) for number in range(LARGE // 1000)),
    "very many": tuple((f"x-{number}", "1") for number in range(2000)),
    "a hundred thousand": tuple((f"x-{number}", "1") for number in range(VERY_MANY)),
    "a hundred thousand empty ones": (("x", ""),) * VERY_MANY,
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


def test_headers_of_http_2_that_take_a_byte_each_and_unpack_to_very_many_are_refused_unread(
    attack: Bridge, provider: ThreadedProvider, case: str
) -> None:
    """An HPACK bomb: one long header in the table, 100,000 references to it, 400 MB if they were kept."""
    bomb = (("x-same", "x" * 4000),) * VERY_MANY
    before = memory(attack.envoy())
    forget_peak(attack.envoy())
    assert exchange(attack.port, (*pairs(case), *bomb), [ASKED]).status in {0, 431}
    assert peak(attack.envoy()) < before + 32 * MIB
    assert case not in provider.seen
    assert attack.sessions(case) == []


HUNDRED_THOUSAND = {
    "names of their own": [(f"x-{number}", "1") for number in range(VERY_MANY)],
    "one name": [("x-same", "x" * 20)] * VERY_MANY,
    "identities": [("x-forwarded-user", f"user-{number}") for number in range(VERY_MANY)],
    "keys": [("authorization", "Bearer x")] * VERY_MANY,
    "cookies": [("cookie", "a=b")] * VERY_MANY,
    "codings": [("content-encoding", "gzip")] * VERY_MANY,
    "lengths": [("content-length", "5")] * VERY_MANY,
    "names for us": [(f"x-ai-bridge-actor-metadata-{number}", "1") for number in range(VERY_MANY)],
}


@pytest.mark.parametrize("kind", HUNDRED_THOUSAND)
@pytest.mark.parametrize("is_response", [False, True], ids=["request", "response"])
def test_a_hundred_thousand_headers_that_somebody_elses_envoy_lets_through_are_judged(
    serves: Serving, kind: str, *, is_response: bool
) -> None:
    many = HUNDRED_THOUSAND[kind]
    said = [
        told("request_headers", [*peer.POST, *(() if is_response else many)]),
        peer.request_body(ASKED).SerializeToString(),
        told("response_headers", [*peer.OK, *(many if is_response else ())]),
        peer.response_body(b"{}", end=True).SerializeToString(),
    ]
    heard = serves.play(*said)
    assert heard.code is StatusCode.OK
    assert heard.kinds()[0] in {"request_headers", "immediate_response"}
    assert serves.left() == (0, 0, 0)


def told(side: str, said: list[tuple[str, str]]) -> bytes:
    """A message of Envoy's with these headers."""
    block = HeaderMap(headers=[HeaderValue(key=key, raw_value=value.encode()) for key, value in said])
    return ProcessingRequest(**{side: HttpHeaders(headers=block)}).SerializeToString()


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


@pytest.mark.parametrize(("count", "size"), [(80, 250), (950, 10)])
def test_headers_of_a_response_that_just_fit_go_on_as_they_came(
    attack: Bridge, script: Script, case: str, count: int, size: int
) -> None:
    sent = tuple((f"x-{number}", f"{number}" * size) for number in range(count))
    script[case] = whole(case, headers=sent)
    response = ask(attack.port, case, ASKED)
    assert response.status == 200
    assert [pair for pair in response.headers if pair[0].startswith("x-") and pair[0][2:].isdigit()] == list(sent)
    assert attack.session(case).ended == ("completed", None, 200)
