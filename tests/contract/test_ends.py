"""However a stream ends, its interception ends, once, and what was seen is kept."""

import asyncio
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from sidecar.telemetry.metrics import Metric
from tests.contract import peer
from tests.contract.worker import FIRST, Worker, locked, serving
from tests.telemetry.counted import Listed

BODY = b'{"model":"gpt-5","input":"hi"}'
ANSWER = b'{"id":"resp_1","status":"completed","usage":{"input_tokens":3,"output_tokens":2}}'
EVENT = b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
COMPLETED = b'data: {"type":"response.completed","response":{"id":"resp_1","usage":{"input_tokens":3}}}\n\n'
BOTH = (peer.Mode.FULL_DUPLEX_STREAMED, peer.Mode.FULL_DUPLEX_STREAMED)
JSON = (("content-type", "application/json"),)
NOT_RECORDED = peer.refused(500, b'{"code":"500","message":"failed to record interception"}', JSON)
REQUEST = (peer.request_headers(), peer.request_body(BODY))
CUT_AT = {
    "the verdict": ((), ("failed", "disconnected", None), ""),
    "the headers": ((peer.response_headers(peer.EVENTS),), ("failed", "disconnected", 200), ""),
    "an event": (
        (peer.response_headers(peer.EVENTS), peer.response_body(EVENT)),
        ("failed", "disconnected", 200),
        "resp_1",
    ),
    "the last event": (
        (peer.response_headers(peer.EVENTS), peer.response_body(COMPLETED)),
        ("completed", None, 200),
        "resp_1",
    ),
    "half of the answer": (
        (peer.response_headers(), peer.response_body(ANSWER[:9])),
        ("failed", "disconnected", 200),
        "",
    ),
}


async def half_close(stream: peer.Talk, _: Worker) -> None:
    assert await stream.end() == []


async def cancel(stream: peer.Talk, _: Worker) -> None:
    stream.call.cancel()


async def vanish(_: peer.Talk, worker: Worker) -> None:
    await worker.channel.close()


@pytest.mark.parametrize("hang_up", [half_close, cancel, vanish])
@pytest.mark.parametrize("cut", CUT_AT)
async def test_a_peer_that_leaves_ends_the_interception(worker: Worker, cut: str, hang_up: object) -> None:
    """Envoy's normal end is any of the three; which one tells nothing. The prompt is kept, under the id if one came."""
    messages, end, msg_id = CUT_AT[cut]
    stream = worker.stream()
    await stream.ask(*REQUEST, *messages)
    await hang_up(stream, worker)
    await worker.settled()
    assert worker.ends() == [end]
    assert worker.rows("SELECT msg_id, prompt FROM user_prompts") == [{"msg_id": msg_id, "prompt": "hi"}]
    assert worker.rows("SELECT open_prompt FROM interceptions") == [{"open_prompt": None}]


@pytest.mark.parametrize("hang_up", [half_close, cancel, vanish])
async def test_a_peer_that_leaves_before_the_verdict_leaves_no_record(worker: Worker, hang_up: object) -> None:
    stream = worker.stream()
    await stream.ask(peer.request_headers())
    await hang_up(stream, worker)
    await worker.settled()
    assert worker.ends() == []
    assert worker.processor.held == 0


@pytest.mark.parametrize("hang_up", [cancel, vanish])
async def test_a_peer_that_vanishes_while_its_verdict_waits_is_ended_behind_its_start(
    worker: Worker, hang_up: object
) -> None:
    """The start may still commit; the end queues behind it."""
    stream = worker.stream()
    with locked(worker.database) as other:
        await stream.ask(REQUEST[0])
        await stream.tell(REQUEST[1])
        await worker.submitted.wait()
        await hang_up(stream, worker)
        await worker.processor.idle.wait()
        assert worker.ends() == []
        other.execute("ROLLBACK")
    await worker.settled()
    assert worker.ends() == [("failed", "disconnected", None)]


async def test_a_peer_that_vanishes_under_a_blocked_reply_is_ended(worker: Worker) -> None:
    """It takes no more, so a reply waits for its window to open, and never returns."""
    body = b'{"stream":true,"input":"' + b"x" * 8_000_000 + b'"}'
    stream = worker.stream()
    await stream.tell(peer.request_headers(modes=BOTH), peer.request_body(body))
    await stream.hear()
    await worker.channel.close()
    await worker.settled()
    assert worker.ends() == [("failed", "disconnected", None)]
    assert worker.processor.held == 0


async def test_a_response_is_recorded_before_its_last_chunk_is_let_go(worker: Worker) -> None:
    """Whoever has read an answer to its end finds it in the journal."""
    stream = worker.stream()
    await stream.ask(*REQUEST, peer.response_headers(), peer.response_body(ANSWER, end=True))
    assert worker.ends() == [("completed", None, 200)]
    assert worker.rows("SELECT interception_id, msg_id, input_tokens, output_tokens FROM token_usages") == [
        {"interception_id": FIRST, "msg_id": "resp_1", "input_tokens": 3, "output_tokens": 2}
    ]
    await stream.end()


async def test_the_first_end_is_the_only_one(worker: Worker) -> None:
    """The terminal event, the end of the body, trailers, the stream's end: four chances to finalise."""
    stream = worker.stream()
    await stream.ask(*REQUEST, peer.response_headers(peer.EVENTS), peer.response_body(COMPLETED))
    before = worker.rows("SELECT * FROM interceptions")
    await stream.ask(peer.response_body(b"", end=True), peer.response_trailers())
    await stream.end()
    await worker.settled()
    assert worker.rows("SELECT * FROM interceptions") == before
    assert worker.rows("SELECT count(*) AS n FROM token_usages") == [{"n": 1}]
    assert worker.rows("SELECT count(*) AS n FROM user_prompts") == [{"n": 1}]


async def test_a_start_that_cannot_be_recorded_is_refused_and_ended_once_it_can(folder: Path) -> None:
    """The refusal names the interception, so that the access log and the row that comes later can be matched."""
    async with serving(folder, start_timeout=0.05) as worker:
        stream = worker.stream()
        with locked(worker.database) as other:
            assert await stream.ask(*REQUEST) == [
                peer.HEADERS_SEEN,
                peer.refused(
                    500,
                    b'{"code":"500","message":"failed to record interception"}',
                    JSON,
                    peer.noted(actor="alice", interception=FIRST),
                ),
            ]
            assert await stream.end() == []
            assert worker.ends() == []
            other.execute("ROLLBACK")
        await worker.settled()
        assert worker.rows("SELECT status, error_type, error_message, http_status FROM interceptions") == [
            {
                "status": "failed",
                "error_type": "rejected",
                "error_message": "the start was not recorded in time",
                "http_status": 500,
            }
        ]


async def test_a_background_request_that_cannot_be_recorded_is_refused_as_such(folder: Path) -> None:
    """Which of the two it is: recording comes first."""
    async with serving(folder, start_timeout=0.05) as worker:
        stream = worker.stream()
        with locked(worker.database) as other:
            [_, refusal] = await stream.ask(REQUEST[0], peer.request_body(b'{"background":true}'))
            assert refusal.immediate_response == NOT_RECORDED.immediate_response
            other.execute("ROLLBACK")
        await stream.end()
        await worker.settled()
        assert worker.ends() == [("failed", "rejected", 500)]


async def test_an_end_that_takes_too_long_is_let_go_and_recorded_later(folder: Path) -> None:
    """Then traffic wins, and a number says how often."""
    async with serving(folder, end_timeout=0.05) as worker:
        worker.processor.metrics = metrics = Listed()
        stream = worker.stream()
        await stream.ask(*REQUEST, peer.response_headers())
        with locked(worker.database) as other, capture_logs() as logged:
            assert await stream.ask(peer.response_body(ANSWER, end=True)) == [peer.ANSWER_BODY_SEEN]
            assert worker.ends() == [(None, None, None)]
            other.execute("ROLLBACK")
        assert metrics.told == [(Metric.RESPONSES_LET_GO_TOTAL, 1.0, ())]
        assert {
            "event": "response let go before its records were safe",
            "interception": FIRST,
            "log_level": "warning",
        } in logged
        await stream.end()
        await worker.settled()
        assert worker.ends() == [("completed", None, 200)]
        assert worker.rows("SELECT input_tokens FROM token_usages") == [{"input_tokens": 3}]


async def test_a_worker_that_stops_says_that_it_looked_away(worker: Worker) -> None:
    """What is still open is cut by us: neither the client nor the provider hung up."""
    stream = worker.stream()
    await stream.ask(*REQUEST, peer.response_headers(peer.EVENTS), peer.response_body(EVENT))
    worker.processor.stopping = True
    await worker.server.stop(0)
    with pytest.raises(grpc.RpcError):
        await stream.hear()
    await worker.settled()
    assert worker.ends() == [("failed", "unobserved", 200)]


async def test_a_message_too_large_for_the_server_ends_the_stream_without_a_record(worker: Worker) -> None:
    """GRPC itself refuses it; Envoy's RBAC then refuses the request."""
    stream = worker.stream()
    await stream.ask(peer.request_headers())
    with pytest.raises(grpc.RpcError) as raised:
        await stream.ask(peer.request_body(b" " * (8_388_608 + 1_048_577)))
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await worker.settled()
    assert worker.ends() == []


async def test_bytes_that_are_no_message_end_the_stream(worker: Worker) -> None:
    """Whoever says them is no Envoy; what it said before is ended."""
    stream = worker.stream()
    await stream.ask(*REQUEST)
    garbage = worker.channel.stream_stream(peer.METHOD)()
    await garbage.write(b"\xff")
    with pytest.raises(grpc.RpcError) as raised:
        assert await garbage.read() == b""
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    await stream.end()
    await worker.settled()
    assert worker.ends() == [("failed", "disconnected", None)]


async def test_many_streams_end_at_once(worker: Worker) -> None:
    """Envoy's connection breaks under all of them."""
    streams = [worker.stream() for _ in range(20)]
    await asyncio.gather(*(stream.ask(*REQUEST, peer.response_headers()) for stream in streams))
    await worker.channel.close()
    await worker.settled()
    assert worker.ends() == [("failed", "disconnected", 200)] * 20
    assert worker.processor.streams == 0
