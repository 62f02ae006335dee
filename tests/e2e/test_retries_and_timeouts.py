"""What Envoy does for itself: try again, give up in time, and say so in JSON."""

import json
from collections.abc import Iterator

import pytest

from examples.answers import error_answer
from examples.provider import ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, Bridge, bridge
from tests.e2e.connections import Connection, ask, asking, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, PROMPT, pieces, streamed, whole
from tests.e2e.scripts import Script

SHORT = 2.0  # seconds: far longer than anything takes that is not meant to


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    """One that waits for no answer longer than two seconds, nor for a stream's next event longer than four."""
    limits = {"request_timeout": SHORT, "idle_timeout": 2 * SHORT, "max_request_bytes": 100_000}
    with bridge(tmp_path_factory.mktemp("hasty"), provider.url, limits=limits) as running:
        yield running
        assert running.stop() == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_is_not_asked_for_twice(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, status: int
) -> None:
    """A POST may be billed twice."""
    script[case] = [error_answer(status, "Once.", "some_type"), whole(case)]
    response = ask(shared.port, case, ASKED)
    assert (response.status, response.json()["error"]["message"]) == (status, "Once.")
    assert len(provider.seen[case]) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_is_asked_for_again_where_the_operator_wants_it(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, status: int
) -> None:
    """The client sees one answer, the journal one interception, the access log every attempt."""
    script[case] = [error_answer(status, "Once.", "some_type"), whole(case)]
    response = ask(shared.port, case, ASKED, path="/retrying/v1/responses")
    assert (response.status, response.json()["id"]) == (200, f"resp_{case}")
    assert [seen.body for seen in provider.seen[case]] == [ASKED, ASKED]
    recorded = shared.session(case)
    assert recorded.ended == ("completed", None, 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]
    assert shared.accessed(interception=recorded.interception["id"])["attempts"] == 2


def test_an_error_that_stays_is_the_client_s_after_the_last_attempt(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = error_answer(429, "Always.", "requests", headers=(("retry-after", "0"),))
    response = ask(shared.port, case, ASKED, path="/retrying/v1/responses")
    assert (response.status, response.json()["error"]["message"]) == (429, "Always.")
    assert response.first("retry-after") == "0"
    assert len(provider.seen[case]) == 2
    assert shared.session(case).ended == ("failed", "rate_limited", 429)


def test_a_client_cannot_ask_envoy_for_more(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = error_answer(500, "Once.", "some_type")
    steering = (
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-max-retries", "5"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
        ("x-envoy-upstream-alt-stat-name", "x"),
        ("x-envoy-original-path", "/elsewhere"),
    )
    assert ask(shared.port, case, ASKED, *steering).status == 500
    (seen,) = provider.seen[case]
    assert [name for name, _ in seen.headers if name.startswith("x-envoy")] == []


def test_a_provider_that_thinks_too_long_is_a_time_out(
    hasty: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = whole(case, hold=-1)
    response = ask(hasty.port, case, ASKED)
    assert (response.status, response.json()) == (
        504,
        {"code": "504", "message": "the provider did not answer in time"},
    )
    assert response.first("content-type") == "application/json"
    provider.departure(case)
    recorded = hasty.session(case)
    assert recorded.ended == ("failed", "timeout", 504)
    assert recorded.asked == [("", PROMPT)]


def test_a_stream_may_take_longer_than_any_answer(hasty: Bridge, script: Script, case: str) -> None:
    """As long as something comes."""
    script[case] = streamed(case, pace=2 * SHORT / len(pieces(case)))
    response = ask(hasty.port, case, ASKED_STREAM)
    assert (response.status, response.body, response.whole) == (200, b"".join(pieces(case)), True)
    assert hasty.session(case).ended == ("completed", None, 200)


def test_a_stream_in_which_nothing_comes_any_more_is_cut(
    hasty: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = streamed(case, hold=2)
    with asking(hasty.port, case, ASKED_STREAM) as connection:
        connection.head()
        assert connection.rest() == (b"".join(pieces(case)[:2]), False)
    provider.departure(case)
    recorded = hasty.ending(case)
    assert recorded.ended == ("failed", "disconnected", 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]
    assert hasty.accessed(interception=recorded.interception["id"])["flags"] == "SI"


def test_an_upload_that_does_not_go_on_is_given_up(hasty: Bridge, provider: ThreadedProvider, case: str) -> None:
    with Connection(hasty.port) as connection:
        connection.send(request(case, ASKED[:-1], ("content-length", str(len(ASKED)))))
        response = connection.response()
    assert response.status == 408
    assert response.json() == {"code": "408", "message": "the request did not arrive in time"}
    assert case not in provider.seen
    assert hasty.sessions(case) == []


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_beyond_the_limit_is_too_large_however_it_comes(
    hasty: Bridge,
    provider: ThreadedProvider,
    case: str,
    is_chunked: bool,  # noqa: FBT001 - a parameter
) -> None:
    body = b'{"model":"m","input":"' + b"x" * 100_000 + b'"}'
    with Connection(hasty.port) as connection:
        if is_chunked:
            chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            connection.send(request(case, chunks, ("transfer-encoding", "chunked")))
        else:
            connection.send(request(case, body))
        response = connection.response()
    assert (response.status, response.json()) == (413, {"code": "413", "message": "request body too large"})
    assert case not in provider.seen
    assert hasty.sessions(case) == []


def test_a_body_at_the_limit_passes(hasty: Bridge, script: Script, provider: ThreadedProvider, case: str) -> None:
    script[case] = whole(case)
    frame = json.dumps({"model": "m", "input": ""}).encode()
    body = frame[:-2] + b"x" * (100_000 - len(frame)) + frame[-2:]
    assert (len(body), ask(hasty.port, case, body).status) == (100_000, 200)
    assert [len(seen.body) for seen in provider.seen[case]] == [100_000]


def test_a_provider_without_a_key_serves_those_who_bring_their_own(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = whole(case)
    response = ask(shared.port, case, ASKED, path="/keyless/v1/responses")
    message = "no key for provider keyless: set providers.api_key or api_key_file"
    assert (response.status, response.json()) == (500, {"code": "500", "message": message})
    assert response.first("x-should-retry") == "false"
    assert case not in provider.seen
    own = ("authorization", "Bearer sk-mine")
    assert ask(shared.port, case, ASKED, own, path="/keyless/v1/responses").status == 200
    assert [seen.first("authorization") for seen in provider.seen[case]] == ["Bearer sk-mine"]


def test_a_provider_elsewhere_gets_its_key_in_its_own_way(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Another path below another host, and the bare key in a header of another name."""
    script[case] = whole(case)
    assert ask(shared.port, case, ASKED, path="/other/v1/responses?api-version=7").status == 200
    (seen,) = provider.seen[case]
    assert (seen.target, seen.all("api-key")) == ("/a/b/responses?api-version=7", [CENTRAL_KEY])
    assert seen.all("authorization") == []
    assert seen.all("host") == [provider.url.removeprefix("http://")]
