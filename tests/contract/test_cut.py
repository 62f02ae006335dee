"""`recorder.on_worker_loss = "cut"`: a stream ends well only when nothing is left to record."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import grpc
import pytest
from structlog.testing import capture_logs

from sidecar.telemetry.metrics import Metric
from tests.contract import peer
from tests.contract.worker import FIRST, Worker, locked, serving
from tests.telemetry.counted import Listed

BODY = b'{"model":"gpt-5","input":"hi","stream":true}'
EVENT = b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
COMPLETED = b'data: {"type":"response.completed","response":{"id":"resp_1","usage":{"input_tokens":3}}}\n\n'
ANSWER = b'{"id":"resp_1","status":"completed","usage":{"input_tokens":3,"output_tokens":2}}'
GET = ((":method", "GET"), (":path", "/openai/v1/models"), ("x-forwarded-user", "alice"))
REQUEST = (peer.request_headers(), peer.request_body(BODY))
BEGUN = (*REQUEST, peer.response_headers(peer.EVENTS), peer.response_body(EVENT))


@pytest.fixture
async def strict(folder: Path) -> AsyncIterator[Worker]:
    async with serving(folder) as worker:
        worker.processor.cuts = True
        yield worker


async def status(stream: peer.Talk) -> grpc.StatusCode:
    """How the stream ended, of which nothing more is heard."""
    with pytest.raises(grpc.RpcError) as raised:
        await stream.hear()
    return raised.value.code()


def broken(*_: object, **__: object) -> NoReturn:
    msg = "nobody foresaw it"
    raise LookupError(msg)


@pytest.mark.parametrize("messages", [REQUEST, BEGUN[:3], BEGUN])
async def test_a_stream_whose_interception_is_open_does_not_end_well(
    strict: Worker, messages: tuple[peer.ProcessingRequest, ...]
) -> None:
    """To Envoy, OK would mean that the rest of the response may go its way."""
    stream = strict.stream()
    await stream.ask(*messages)
    await stream.call.done_writing()
    assert await status(stream) is grpc.StatusCode.ABORTED
    await strict.settled()
    assert strict.ends() == [("failed", "disconnected", 200 if len(messages) > 2 else None)]


async def test_a_worker_that_stops_cuts_what_is_open(strict: Worker) -> None:
    stream = strict.stream()
    await stream.ask(*BEGUN)
    strict.processor.stopping = True
    await strict.server.stop(0)
    assert await status(stream) is not grpc.StatusCode.OK
    await strict.settled()
    assert strict.ends() == [("failed", "unobserved", 200)]


async def test_what_was_recorded_ends_well(strict: Worker) -> None:
    """After the terminal event nothing is left to record."""
    stream = strict.stream()
    await stream.ask(*BEGUN, peer.response_body(COMPLETED))
    assert await stream.end() == []
    assert strict.ends() == [("completed", None, 200)]


@pytest.mark.parametrize("answered", [False, True])
async def test_a_passthrough_is_not_recorded_and_ends_well(strict: Worker, *, answered: bool) -> None:
    """Its response may go on without us."""
    stream = strict.stream()
    await stream.ask(peer.request_headers(GET, end=True), *([peer.response_headers()] if answered else []))
    assert await stream.end() == []
    assert strict.ends() == []


async def test_a_request_that_was_never_started_ends_well(strict: Worker) -> None:
    """There is no verdict, so RBAC refuses it."""
    stream = strict.stream()
    await stream.ask(REQUEST[0])
    assert await stream.end() == []
    assert strict.ends() == []


@pytest.mark.parametrize("end", [(peer.response_body(b"", end=True),), ()])
async def test_what_was_given_up_is_recorded_as_such_before_more_of_it_is_let_go(
    strict: Worker, monkeypatch: pytest.MonkeyPatch, end: tuple[peer.ProcessingRequest, ...]
) -> None:
    """It is on record as unread, so it passes, and however it goes on nobody reads what is not recorded."""
    stream = strict.stream()
    await stream.ask(*BEGUN)
    with monkeypatch.context() as planted:
        planted.setattr("sidecar.core.reading.Reading.feed", broken)
        assert await stream.ask(peer.response_body(EVENT)) == [peer.ANSWER_BODY_SEEN]
    assert strict.ends() == [("failed", "unread", 200)]
    assert await stream.ask(peer.response_body(COMPLETED), *end) == [peer.ANSWER_BODY_SEEN] * (1 + len(end))
    assert await stream.end() == []
    await strict.settled()
    assert strict.ends() == [("failed", "unread", 200)]


@pytest.mark.parametrize(
    "piece",
    [
        "sidecar.core.interception.Reading",
        "sidecar.core.reading.Reading.may_have_ended",
        "sidecar.core.reading.Reading.read",
        "sidecar.core.reading.Reading.close",
        "sidecar.core.responses.Answer.records",
    ],
)
async def test_a_response_that_fails_to_be_read_is_recorded_before_its_end_is_let_go(
    strict: Worker, monkeypatch: pytest.MonkeyPatch, piece: str
) -> None:
    stream = strict.stream()
    await stream.ask(*REQUEST)
    monkeypatch.setattr(piece, broken)
    await stream.ask(*BEGUN[2:], peer.response_body(EVENT), peer.response_body(b"", end=True))
    assert strict.ends() == [("failed", "unread", 200)]
    assert await stream.end() == []


@pytest.mark.parametrize(
    ("before", "odd", "http_status"),
    [
        (REQUEST, peer.response_body(EVENT), None),
        (REQUEST, peer.request_headers(), None),
        (BEGUN, peer.response_headers(), 200),
        (BEGUN, peer.ProcessingRequest(), 200),
    ],
)
async def test_a_response_that_comes_in_no_order_we_know_is_cut(
    strict: Worker,
    before: tuple[peer.ProcessingRequest, ...],
    odd: peer.ProcessingRequest,
    http_status: int | None,
) -> None:
    """Envoy never does that; whoever does may be showing us another response than it sends."""
    stream = strict.stream()
    await stream.ask(*before)
    await stream.tell(odd)
    assert await status(stream) is grpc.StatusCode.ABORTED
    await strict.settled()
    assert strict.ends() == [("failed", "unobserved", http_status)]


async def test_a_response_whose_headers_cannot_be_told_is_cut(strict: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = strict.stream()
    await stream.ask(*REQUEST)
    with monkeypatch.context() as planted:
        planted.setattr("sidecar.wire._attributes", broken)
        await stream.tell(peer.response_headers())
        assert await status(stream) is grpc.StatusCode.ABORTED
    await strict.settled()
    assert strict.ends() == [("failed", "unobserved", None)]


async def test_an_end_that_takes_too_long_is_cut_and_recorded_later(folder: Path) -> None:
    """Its last bytes stay with Envoy: the record says more than the client has read, never less."""
    async with serving(folder, end_timeout=0.05) as worker:
        worker.processor.cuts = True
        worker.processor.metrics = metrics = Listed()
        stream = worker.stream()
        await stream.ask(*REQUEST, peer.response_headers())
        with locked(worker.database) as other, capture_logs() as logged:
            await stream.tell(peer.response_body(ANSWER, end=True))
            assert await status(stream) is grpc.StatusCode.ABORTED
            assert worker.ends() == [(None, None, None)]
            other.execute("ROLLBACK")
        assert metrics.told == [(Metric.RESPONSES_CUT_TOTAL, 1.0, ())]
        assert {
            "event": "response cut before its records were safe",
            "interception": FIRST,
            "log_level": "warning",
        } in logged
        await worker.settled()
        assert worker.ends() == [("completed", None, 200)]
