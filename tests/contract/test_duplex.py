"""A proxy that works FULL_DUPLEX_STREAMED gives its bytes away, and gets each of them back."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core.policy import Bounds
from tests.contract import peer
from tests.contract.worker import FIRST, KEY, POLICY, Worker, serving

BODY = b'{"model":"gpt-5","input":"hi","stream":true}'
BOTH = (peer.Mode.FULL_DUPLEX_STREAMED, peer.Mode.FULL_DUPLEX_STREAMED)
PASSED = peer.passed_at_headers(
    (("accept-encoding", "identity"), ("authorization", f"Bearer {KEY}")),
    ("x-forwarded-user",),
    actor="alice",
    interception=FIRST,
)
TIME_OUT = ("x-envoy-upstream-rq-timeout-ms", "600000")
COMPLETED = b'data: {"type":"response.completed","response":{"id":"resp_1"}}\n\n'


@pytest.fixture
async def narrow(folder: Path) -> AsyncIterator[Worker]:
    """A worker that takes a hundred bytes."""
    async with serving(folder, policy=replace(POLICY, bounds=Bounds(request_bytes=100))) as worker:
        yield worker


async def test_the_headers_are_answered_once_the_body_was_judged(worker: Worker) -> None:
    """Until then the proxy sends nothing on; then come the headers and every byte, in order."""
    stream = worker.stream()
    await stream.tell(peer.request_headers(modes=BOTH), peer.request_body(BODY[:9], end=False))
    await stream.tell(peer.request_body(BODY[9:], end=False), peer.request_body(b"", end=True))
    assert await stream.hear(2) == [PASSED, peer.request_echo(BODY, end=True)]
    assert await stream.end() == []


async def test_trailers_end_a_request_too(worker: Worker) -> None:
    stream = worker.stream()
    await stream.tell(peer.request_headers(modes=BOTH), peer.request_body(BODY, end=False), peer.request_trailers())
    assert await stream.hear(3) == [PASSED, peer.request_echo(BODY, end=False), peer.TRAILERS_SEEN]
    assert await stream.end() == []


async def test_a_long_body_comes_back_in_pieces(worker: Worker) -> None:
    """No proxy's gRPC client need take a message of 32 MiB."""
    body = b'{"model":"gpt-5","stream":true,"input":"' + b"x" * 200_000 + b'"}'
    stream = worker.stream()
    await stream.tell(peer.request_headers(modes=BOTH), peer.request_body(body))
    assert await stream.hear(5) == [
        PASSED,
        *(peer.request_echo(body[at : at + 65_536], end=False) for at in (0, 65_536, 131_072)),
        peer.request_echo(body[196_608:], end=True),
    ]
    assert await stream.end() == []


async def test_a_response_comes_back_chunk_by_chunk(worker: Worker) -> None:
    stream = worker.stream()
    await stream.tell(peer.request_headers(modes=BOTH), peer.request_body(BODY))
    await stream.hear(2)
    assert await stream.ask(
        peer.response_headers(peer.EVENTS),
        peer.response_body(COMPLETED[:11]),
        peer.response_body(COMPLETED[11:]),
        peer.response_body(b"", end=True),
    ) == [
        peer.ANSWER_HEADERS_SEEN,
        peer.response_echo(COMPLETED[:11], end=False),
        peer.response_echo(COMPLETED[11:], end=False),
        peer.response_echo(b"", end=True),
    ]
    assert worker.ends() == [("completed", None, 200)]
    assert await stream.end() == []


async def test_a_responses_trailers_are_acknowledged(worker: Worker) -> None:
    stream = worker.stream()
    await stream.tell(peer.request_headers(modes=BOTH), peer.request_body(BODY))
    await stream.hear(2)
    assert await stream.ask(
        peer.response_headers(peer.EVENTS), peer.response_body(COMPLETED), peer.response_trailers()
    ) == [peer.ANSWER_HEADERS_SEEN, peer.response_echo(COMPLETED, end=False), peer.ANSWER_TRAILERS_SEEN]
    await stream.end()


async def test_what_is_read_no_further_comes_back_all_the_same(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost chunk would be lost for the client."""
    stream = worker.stream()
    await stream.tell(peer.request_headers(modes=BOTH), peer.request_body(BODY))
    await stream.hear(2)
    await stream.ask(peer.response_headers(peer.EVENTS))
    monkeypatch.delattr("sidecar.core.reading.Reading.feed")
    monkeypatch.delattr("sidecar.core.reading.Unread.feed")
    assert await stream.ask(peer.response_body(COMPLETED)) == [peer.response_echo(COMPLETED, end=False)]
    await stream.end()


async def test_a_body_beyond_the_bound_is_refused_as_soon_as_it_is(narrow: Worker) -> None:
    """Nothing has been let go, and no more is held than the bound."""
    stream = narrow.stream()
    await stream.tell(peer.request_headers(modes=BOTH), peer.request_body(b" " * 60, end=False))
    await stream.tell(peer.request_body(b" " * 41, end=False))
    final = (("content-type", "application/json"), ("x-should-retry", "false"))
    assert await stream.hear() == [peer.refused(413, b'{"code":"413","message":"request body too large"}', final)]
    assert await stream.end() == []
    await narrow.settled()
    assert narrow.ends() == []


async def test_a_passthrough_is_let_go_with_its_headers_and_echoed(worker: Worker) -> None:
    """Such a proxy cannot be told to send less."""
    pairs = ((":method", "POST"), (":path", "/openai/v1/conversations"), ("x-forwarded-user", "alice"))
    stream = worker.stream()
    assert await stream.ask(
        peer.request_headers(pairs, modes=BOTH),
        peer.request_body(b"{}", end=True),
        peer.response_headers(),
        peer.response_body(b"[]", end=True),
    ) == [
        peer.passed_at_headers(
            (TIME_OUT, ("accept-encoding", "identity"), ("authorization", f"Bearer {KEY}")),
            ("x-forwarded-user",),
            actor="alice",
        ),
        peer.request_echo(b"{}", end=True),
        peer.ANSWER_HEADERS_SEEN,
        peer.response_echo(b"[]", end=True),
    ]
    await stream.end()


async def test_each_side_is_answered_in_its_own_mode(worker: Worker) -> None:
    """A request that Envoy buffers beside a response that it hands over: a plain reply would lose the bytes."""
    stream = worker.stream()
    await stream.ask(peer.request_headers(modes=(peer.Mode.BUFFERED, peer.Mode.FULL_DUPLEX_STREAMED)))
    await stream.ask(peer.request_body(BODY))
    assert await stream.ask(peer.response_headers(peer.EVENTS), peer.response_body(COMPLETED, end=True)) == [
        peer.ANSWER_HEADERS_SEEN,
        peer.response_echo(COMPLETED, end=True),
    ]
    await stream.end()


async def test_a_response_that_envoy_keeps_is_not_echoed(worker: Worker) -> None:
    """It takes an echo beside STREAMED for a fault."""
    stream = worker.stream()
    await stream.tell(
        peer.request_headers(modes=(peer.Mode.FULL_DUPLEX_STREAMED, peer.Mode.STREAMED)), peer.request_body(BODY)
    )
    await stream.hear(2)
    assert await stream.ask(peer.response_headers(peer.EVENTS), peer.response_body(COMPLETED, end=True)) == [
        peer.ANSWER_HEADERS_SEEN,
        peer.ANSWER_BODY_SEEN,
    ]
    await stream.end()
