"""What all streams share: room, health, and the size of a message."""

import asyncio
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.core.records import Prompt
from tests.contract import peer
from tests.contract.worker import NOW, Worker, locked, serving

BODY = b'{"model":"gpt-5","input":"hi"}'
OVERLOADED = peer.refused(
    503,
    b'{"code":"503","message":"too much to do, try again soon"}',
    (("content-type", "application/json"), ("retry-after", "1")),
)
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def announced(size: int) -> peer.ProcessingRequest:
    return peer.request_headers(peer.POST, ("content-length", str(size)))


async def test_beyond_the_room_for_bodies_a_request_is_refused_for_a_while(folder: Path) -> None:
    """As announced, so that nothing is read in vain; what has had its verdict leaves its room to others."""
    async with serving(folder, inflight_bytes=100) as worker:
        first, second, third = worker.stream(), worker.stream(), worker.stream()
        assert await first.ask(announced(60)) == [peer.HEADERS_SEEN]
        assert await second.ask(announced(41)) == [OVERLOADED]
        assert await third.ask(announced(40)) == [peer.HEADERS_SEEN]
        assert worker.processor.held == 100
        await first.ask(peer.request_body(BODY), peer.response_headers())
        assert worker.processor.held == 40
        for stream in (first, second, third):
            await stream.end()
        await worker.settled()
        assert worker.processor.held == 0
        assert worker.ends() == [("failed", "disconnected", 200)]


async def test_a_body_that_nobody_announced_needs_room_as_well(folder: Path) -> None:
    """A chunked upload has no content-length."""
    async with serving(folder, inflight_bytes=len(BODY)) as worker:
        first, second = worker.stream(), worker.stream()
        assert await first.ask(peer.request_headers(), peer.request_body(BODY + b" ")) == [
            peer.HEADERS_SEEN,
            OVERLOADED,
        ]
        [_, verdict] = await second.ask(peer.request_headers(), peer.request_body(BODY))
        assert verdict.request_body is not None
        await first.end()
        await second.end()
        await worker.settled()
        assert worker.processor.held == 0


async def test_a_body_given_in_pieces_takes_room_piece_by_piece(folder: Path) -> None:
    both = (peer.Mode.FULL_DUPLEX_STREAMED, peer.Mode.FULL_DUPLEX_STREAMED)
    async with serving(folder, inflight_bytes=100) as worker:
        stream = worker.stream()
        await stream.tell(peer.request_headers(modes=both), *[peer.request_body(b" " * 50, end=False)] * 3)
        assert await stream.hear() == [OVERLOADED]
        assert await stream.end() == []
        await worker.settled()
        assert worker.processor.held == 0


async def test_a_body_takes_room_until_its_verdict(folder: Path) -> None:
    """While its start waits for the disk it is still there."""
    async with serving(folder, inflight_bytes=len(BODY)) as worker:
        first, second = worker.stream(), worker.stream()
        with locked(worker.database) as other:
            await first.ask(peer.request_headers())
            await first.tell(peer.request_body(BODY))
            await worker.submitted.wait()
            assert await second.ask(announced(1)) == [OVERLOADED]
            other.execute("ROLLBACK")
        assert (await first.hear())[0].request_body is not None
        await first.end()
        await second.end()


async def test_a_message_may_be_as_large_as_a_request(worker: Worker) -> None:
    """GRPC's own bound is 4 MiB."""
    body = b'{"model":"gpt-5","stream":true,"input":"' + b"x" * 6_000_000 + b'"}'
    stream = worker.stream()
    [_, verdict] = await stream.ask(peer.request_headers(), peer.request_body(body))
    assert verdict.request_body is not None
    await stream.end()
    await worker.settled()
    assert worker.rows("SELECT length(prompt) > 1048576 AS cut FROM user_prompts") == [{"cut": 1}]


@pytest.mark.parametrize("service", ["", "envoy.service.ext_proc.v3.ExternalProcessor"])
async def test_health_is_what_envoy_asks_for(worker: Worker, service: str) -> None:
    """Told to stop, the worker still serves what comes, but is given nothing new."""
    asked = health_pb2.HealthCheckRequest(service=service)
    stub = health_pb2_grpc.HealthStub(worker.channel)
    assert (await stub.Check(asked)).status == SERVING
    await worker.server.enter_graceful_shutdown()
    assert (await stub.Check(asked)).status == NOT_SERVING
    stream = worker.stream()
    assert await stream.ask(peer.request_headers()) == [peer.HEADERS_SEEN]
    await stream.end()


async def test_streams_do_not_wait_for_each_other(worker: Worker) -> None:
    """One that says nothing more costs the others nothing."""
    silent, others = worker.stream(), [worker.stream() for _ in range(50)]
    await silent.ask(peer.request_headers())
    verdicts = await asyncio.gather(*(one.ask(peer.request_headers(), peer.request_body(BODY)) for one in others))
    assert all(verdict.request_body is not None for _, verdict in verdicts)
    await asyncio.gather(*(one.end() for one in (silent, *others)))
    await worker.settled()
    assert worker.ends() == [("failed", "disconnected", None)] * 50


async def test_a_journal_that_cannot_keep_up_turns_new_requests_away_for_a_while(folder: Path) -> None:
    """What waits for a disk in trouble waits in memory: more of it must not come in than memory holds."""
    prompt = Prompt(interception="gone", at=NOW, msg_id="resp_1", text="x" * 2**20)
    async with serving(folder) as worker:
        with locked(worker.database):
            waiting = [worker.journal.submit([prompt]) for _ in range(255)]
            served = worker.stream()
            assert await served.ask(peer.request_headers()) == [peer.HEADERS_SEEN]
            await served.end()
            waiting.append(worker.journal.submit([prompt]))
            refused = worker.stream()
            assert await refused.ask(peer.request_headers()) == [OVERLOADED]
            await refused.end()
        await asyncio.gather(*waiting)
        served = worker.stream()
        assert await served.ask(peer.request_headers()) == [peer.HEADERS_SEEN]
        await served.end()
        await worker.settled()
        assert worker.ends() == []
