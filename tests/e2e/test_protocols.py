"""HTTP in all the ways in which clients speak it."""

import socket

import httpx2
import pytest

from examples.answers import Answer
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import Connection, ask, headers, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, EVENT_STREAM, pieces, streamed, whole
from tests.e2e.scripts import Script

CHUNKED = ("transfer-encoding", "chunked")


def test_http_2_without_an_upgrade_is_spoken_too(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case], script[f"{case}-stream"] = whole(case), streamed(f"{case}-stream")
    url = f"{shared.url}/openai/v1/responses"
    with httpx2.Client(http1=False, http2=True, trust_env=False, timeout=30) as client:
        plain = client.post(url, content=ASKED, headers=dict(headers(case)))
        stream = client.post(url, content=ASKED_STREAM, headers=dict(headers(f"{case}-stream")))
    assert (plain.http_version, plain.status_code, plain.content) == ("HTTP/2", 200, whole(case).body)
    assert stream.content == b"".join(pieces(f"{case}-stream"))
    assert [seen.body for seen in provider.seen[case]] == [ASKED]
    assert shared.session(case).ended == ("completed", None, 200)
    assert shared.session(f"{case}-stream").ended == ("completed", None, 200)


def test_http_2_streams_of_one_connection_do_not_mix(shared: Bridge, script: Script, case: str) -> None:
    names = [f"{case}-{number}" for number in range(10)]
    for name in names:
        script[name] = streamed(name)
    url = f"{shared.url}/openai/v1/responses"
    with httpx2.Client(http1=False, http2=True, trust_env=False, timeout=30) as client:
        got = [client.post(url, content=ASKED_STREAM, headers=dict(headers(name))).content for name in names]
    assert got == [b"".join(pieces(name)) for name in names]
    assert [shared.session(name).asked[0][0] for name in names] == [f"resp_{name}" for name in names]


def test_an_upload_in_chunks_reaches_the_provider_as_the_same_bytes(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = whole(case)
    chunks = b"".join(b"%x;ext=1\r\n%s\r\n" % (1, ASKED[at : at + 1]) for at in range(len(ASKED)))
    assert ask(shared.port, case, chunks + b"0\r\n\r\n", CHUNKED).status == 200
    assert [seen.body for seen in provider.seen[case]] == [ASKED]
    assert shared.session(case).ended == ("completed", None, 200)


def test_a_request_s_trailers_change_nothing(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Nobody has looked at them, so nobody gets them."""
    script[case] = whole(case)
    body = b"%x\r\n%s\r\n0\r\nx-forwarded-user: mallory\r\nauthorization: Bearer sk-mallory\r\n\r\n" % (
        len(ASKED),
        ASKED,
    )
    response = ask(shared.port, case, body, CHUNKED, ("trailer", "authorization"))
    assert (response.status, response.body) == (200, whole(case).body)
    (seen,) = provider.seen[case]
    assert (seen.body, seen.all("trailer")) == (ASKED, [])
    recorded = shared.session(case)
    assert recorded.interception["initiator_id"] == "ada"
    assert recorded.interception["credential_kind"] == "centralized"


def test_a_response_s_trailers_pass(shared: Bridge, script: Script, case: str) -> None:
    script[case] = Answer(
        content_type=EVENT_STREAM, headers=(("trailer", "x-sum"),), body=pieces(case), trailers=(("x-sum", "7"),)
    )
    with Connection(shared.port) as connection:
        connection.send(request(case, ASKED_STREAM))
        assert connection.head().status == 200
        assert connection.rest() == (b"".join(pieces(case)), True)
    assert shared.session(case).ended == ("completed", None, 200)


def test_who_asks_before_uploading_is_told_to_go_on(shared: Bridge, script: Script, case: str) -> None:
    """As curl does, with anything large (RFC 9110, section 10.1.1)."""
    script[case] = whole(case)
    told = ("expect", "100-continue"), ("content-length", str(len(ASKED)))
    with Connection(shared.port) as connection:
        connection.send(request(case, b"", *told))
        assert connection.head().status == 100
        connection.send(ASKED)
        assert connection.response().body == whole(case).body
    assert shared.session(case).ended == ("completed", None, 200)


def test_one_connection_serves_many_requests_refusals_among_them(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = whole(case)
    background = ASKED[:-1] + b',"background":true}'
    with Connection(shared.port) as connection:
        statuses = []
        for body in (ASKED, background, ASKED, background, background, ASKED):
            connection.send(request(case, body))
            statuses.append(connection.response().status)
    assert statuses == [200, 501, 200, 501, 501, 200]
    assert len(provider.seen[case]) == 3
    kinds = [one.ended for one in shared.sessions(case)]
    done, refused = ("completed", None, 200), ("failed", "rejected", 501)
    assert kinds == [done, refused, done, refused, refused, done]


def test_a_refusal_that_ends_the_connection_says_so(shared: Bridge, case: str) -> None:
    """Envoy's way with any 400: the client that reads it knows not to send another request there."""
    with Connection(shared.port) as connection:
        connection.send(request(case, b"no JSON"))
        response = connection.response()
        assert (response.status, response.first("connection")) == (400, "close")
        assert connection.ended()


def test_requests_sent_ahead_are_answered_in_their_order(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    names = [f"{case}-{number}" for number in range(5)]
    for name in names:
        script[name] = whole(name)
    with Connection(shared.port) as connection:
        connection.send(b"".join(request(name, ASKED) for name in names))
        got = [connection.response().body for _ in names]
    assert got == [whole(name).body for name in names]
    assert [len(provider.seen[name]) for name in names] == [1] * 5


def test_a_client_that_sends_no_more_may_still_read(shared: Bridge, script: Script, case: str) -> None:
    """A half-closed connection; Envoy takes it for a client gone, or serves it: never half of both."""
    script[case] = whole(case)
    with socket.create_connection(("127.0.0.1", shared.port), 30) as client:
        client.sendall(request(case, ASKED))
        client.shutdown(socket.SHUT_WR)
        got = b"".join(iter(lambda: client.recv(65536), b""))
    body = whole(case).body
    assert isinstance(body, bytes)
    assert got == b"" or got.endswith(body)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_request_without_a_body_is_judged_all_the_same(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, method: str
) -> None:
    """No message with a body will ever come: the verdict is due at the headers."""
    script[case] = whole(case)
    with Connection(shared.port) as connection:
        lines = [f"{method} /openai/v1/responses HTTP/1.1", *(f"{name}: {value}" for name, value in headers(case))]
        connection.send("\r\n".join((*lines, "", "")).encode())
        response = connection.response()
    assert response.status == (400 if method == "POST" else 405)
    assert response.first("allow") == (None if method == "POST" else "POST")
    assert case not in provider.seen
