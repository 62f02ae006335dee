"""What nobody foresaw: a request is refused, a response goes on, and the log says nothing of what was said."""

from collections.abc import Iterator
from typing import NoReturn

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.contract import peer
from tests.contract.worker import Worker

BODY = b'{"model":"gpt-5","input":"canary in the prompt"}'
ANSWER = b'{"id":"resp_1","status":"completed","note":"canary in the answer","usage":{"input_tokens":3}}'
EVENT = b'data: {"type":"response.created","response":{"id":"resp_1","note":"canary in the answer"}}\n\n'
GET = ((":method", "GET"), (":path", "/openai/v1/models"), ("x-forwarded-user", "alice"))
REFUSED = peer.refused(
    500, b'{"code":"500","message":"the request could not be processed"}', (("content-type", "application/json"),)
)


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    with capture_logs() as entries:
        yield entries


def broken(*_: object, **__: object) -> NoReturn:
    msg = "canary in the exception"
    raise LookupError(msg)


@pytest.mark.parametrize(
    ("piece", "end"),
    [
        ("sidecar.core.interception.admit", None),
        ("sidecar.core.requests.payload", None),
        ("sidecar.core.requests.read", None),
        ("sidecar.core.clients.session", None),
        ("sidecar.core.interception.changes", None),
        ("sidecar.core.interception.Forwarded", ("failed", "rejected", None)),
        ("sidecar.wire._verdict", ("failed", "rejected", None)),
    ],
)
async def test_a_request_that_fails_to_be_read_is_refused(
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[EventDict],
    piece: str,
    end: tuple[str, str, None] | None,
) -> None:
    """Whatever breaks before the verdict has been said, however late; the stream stays whole."""
    stream = worker.stream()
    with monkeypatch.context() as planted:
        planted.setattr(piece, broken)
        heard = await stream.ask(peer.request_headers())
        if heard == [peer.HEADERS_SEEN]:
            heard = await stream.ask(peer.request_body(BODY))
    assert heard == [REFUSED]
    assert await stream.end() == []
    await worker.settled()
    assert worker.ends() == ([end] if end else [])
    assert [entry["log_level"] for entry in logged] == ["error"]
    assert "canary" not in str(logged)


@pytest.mark.parametrize("piece", ["sidecar.core.interception.changes", "sidecar.wire._verdict"])
async def test_a_passthrough_that_fails_to_be_read_is_refused(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, piece: str
) -> None:
    """Its verdict is the answer to its headers."""
    stream = worker.stream()
    with monkeypatch.context() as planted:
        planted.setattr(piece, broken)
        assert await stream.ask(peer.request_headers(GET, end=True)) == [REFUSED]
    assert await stream.end() == []


@pytest.mark.parametrize(
    "piece",
    [
        "sidecar.core.interception.Reading",
        "sidecar.core.reading.Reading.feed",
        "sidecar.core.reading.Reading.may_have_ended",
        "sidecar.core.reading.Reading.read",
        "sidecar.core.reading.Reading.close",
        "sidecar.core.responses.Answer.records",
    ],
)
async def test_a_response_that_fails_to_be_read_goes_on(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, logged: list[EventDict], piece: str
) -> None:
    """Every chunk is let go, and the interception ends all the same: once, as unread."""
    stream = worker.stream()
    await stream.ask(peer.request_headers(), peer.request_body(BODY))
    monkeypatch.setattr(piece, broken)
    assert await stream.ask(
        peer.response_headers(peer.EVENTS),
        peer.response_body(EVENT),
        peer.response_body(EVENT),
        peer.response_body(b"", end=True),
    ) == [peer.ANSWER_HEADERS_SEEN, *[peer.ANSWER_BODY_SEEN] * 3]
    assert await stream.end() == []
    await worker.settled()
    assert worker.ends() == [("failed", "unread", 200)]
    assert {entry["log_level"] for entry in logged} == {"error"}
    assert "canary" not in str(logged)


async def test_a_reading_that_fails_at_the_very_end_ends_the_interception(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer hangs up, and what was read so far cannot be told."""
    stream = worker.stream()
    await stream.ask(
        peer.request_headers(), peer.request_body(BODY), peer.response_headers(), peer.response_body(ANSWER)
    )
    monkeypatch.setattr("sidecar.core.reading.Reading.close", broken)
    await stream.end()
    await worker.settled()
    assert worker.ends() == [("failed", "unread", 200)]


async def test_the_next_request_is_served_as_if_nothing_had_been(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, next_one = worker.stream(), worker.stream()
    with monkeypatch.context() as planted:
        planted.setattr("sidecar.core.requests.read", broken)
        await stream.ask(peer.request_headers(), peer.request_body(BODY))
    await next_one.ask(peer.request_headers(), peer.request_body(BODY), peer.response_headers())
    await next_one.ask(peer.response_body(ANSWER, end=True))
    assert worker.ends() == [("completed", None, 200)]
    await stream.end()
    await next_one.end()
    assert worker.processor.held == 0
