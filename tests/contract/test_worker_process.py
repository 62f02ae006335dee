"""The worker as it is started: a process of its own, told what to do on standard input."""

import asyncio
import os
import pickle
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.assignment import Assignment
from sidecar.settings import Limits, Provider, Recorder, Settings
from tests.contract import peer, worker
from tests.contract.worker import locked

BODY = b'{"model":"gpt-5","input":"canary in the prompt","stream":true}'
ANSWER = b'data: {"type":"response.completed","response":{"id":"resp_1","note":"canary in the answer"}}\n\n'
# Seconds for a commit: a disk that others use too may take longer than an operator likes.
PATIENT = {"start_commit_timeout": 4.0, "end_commit_timeout": 4.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A worker's process, which serves at `address`."""

    process: asyncio.subprocess.Process
    address: str

    async def ended(self) -> tuple[int, str]:
        """Its exit status and what it said."""
        async with asyncio.timeout(peer.PATIENCE):
            _, said = await self.process.communicate()
        return self.process.returncode or 0, said.decode()


def assignment(folder: Path, ready: int, limits: Limits) -> Assignment:
    settings = Settings(
        runtime_dir=folder,
        recorder=Recorder(url=f"sqlite:///{folder}/aibridge.db"),
        providers=(Provider(api_key="sk-canary-0123456789abcdef"),),
        limits=limits,
        verdict="b1946ac9",
        grpc_server=worker.SERVED,
    )
    return Assignment(settings=settings, socket=folder / "w.sock", worker="host:0", ready=ready)


@asynccontextmanager
async def started(folder: Path, **limits: int) -> AsyncIterator[tuple[Child, int]]:
    """A worker; what can be read at the descriptor says when it serves."""
    readable, writable = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sidecar.app"),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=(writable,),
    )
    os.close(writable)
    child = Child(process=process, address=f"unix:{folder}/w.sock")
    try:
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(assignment(folder, writable, Limits(**PATIENT, **limits))))
        await process.stdin.drain()
        yield child, readable
    finally:
        os.close(readable)
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def child(folder: Path) -> AsyncIterator[Child]:
    async with started(folder) as (child, readable):
        async with asyncio.timeout(peer.PATIENCE):
            assert await asyncio.to_thread(os.read, readable, 1) == b"\n"
        yield child


def ends(folder: Path) -> list[tuple[str, str | None, str]]:
    with closing(sqlite3.connect(folder / "aibridge.db")) as connection:
        return connection.execute("SELECT status, error_type, worker FROM interceptions").fetchall()


async def test_a_request_is_served_recorded_and_logged_nowhere(child: Child, folder: Path) -> None:
    async with peer.channel(child.address) as channel:
        stream = peer.talk(channel)
        [_, verdict, *acks] = await stream.ask(
            peer.request_headers(),
            peer.request_body(BODY),
            peer.response_headers(peer.EVENTS),
            peer.response_body(ANSWER),
        )
        assert acks == [peer.ANSWER_HEADERS_SEEN, peer.ANSWER_BODY_SEEN]
        assert ends(folder) == [("completed", None, "host:0")]
        assert await stream.end() == []
    assert verdict.dynamic_metadata is not None
    assert verdict.dynamic_metadata.to_dict()["aibridge.verdict"]["decision"] == "b1946ac9"
    child.process.send_signal(signal.SIGTERM)
    status, said = await child.ended()
    assert status == 0
    assert "canary" not in said


async def test_a_small_limit_for_requests_is_none_for_answers(folder: Path) -> None:
    """Of an answer Envoy sends as much at once as came: 2 MiB have been seen, whatever a request may have."""
    answer = b'{"id":"resp_1","note":"' + b"x" * (4 << 20) + b'"}'
    async with started(folder, max_request_bytes=1000) as (child, readable):
        assert await asyncio.to_thread(os.read, readable, 1) == b"\n"
        async with peer.channel(child.address) as channel:
            stream = peer.talk(channel)
            messages = (peer.request_headers(), peer.request_body(BODY), peer.response_headers())
            await stream.ask(*messages, peer.response_body(answer, end=True))
            assert await stream.end() == []
    assert ends(folder) == [("completed", None, "host:0")]


async def health(channel: aio.Channel) -> int:
    """What a health check is told."""
    return (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())).status


async def test_told_to_stop_it_cuts_what_does_not_end_and_loses_nothing(child: Child, folder: Path) -> None:
    """However many there are, and however far they have come."""
    assert child.process.stdin is not None
    async with peer.channel(child.address) as channel:
        streams = [peer.talk(channel) for _ in range(50)]
        for stream in streams[:25]:
            await stream.ask(peer.request_headers(), peer.request_body(BODY), peer.response_headers(peer.EVENTS))
        for stream in streams[25:]:
            await stream.ask(peer.request_headers())
        child.process.stdin.write(b"4.0\n")
        assert (await child.ended())[0] == 0
    assert ends(folder) == [("failed", "unobserved", "host:0")] * 25


async def test_told_to_stop_it_lets_what_is_under_way_end(child: Child, folder: Path) -> None:
    """Envoy hears first that nothing new is wanted."""
    async with peer.channel(child.address) as channel:
        stream = peer.talk(channel)
        assert await health(channel) == health_pb2.HealthCheckResponse.SERVING
        await stream.ask(peer.request_headers(), peer.request_body(BODY), peer.response_headers(peer.EVENTS))
        child.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(peer.PATIENCE):
            while await health(channel) == health_pb2.HealthCheckResponse.SERVING:
                pass
        assert await stream.ask(peer.response_body(ANSWER)) == [peer.ANSWER_BODY_SEEN]
        assert await stream.end() == []
    assert (await child.ended())[0] == 0
    assert ends(folder) == [("completed", None, "host:0")]


@pytest.mark.parametrize("is_in_time", [True, False])
async def test_what_its_journal_still_lacks_has_all_the_time_that_is_left(
    child: Child,
    folder: Path,
    is_in_time: bool,  # noqa: FBT001 - a parameter
) -> None:
    """The parent says how much that is."""
    assert child.process.stdin is not None
    async with peer.channel(child.address) as channel:
        stream = peer.talk(channel)
        await stream.ask(peer.request_headers(), peer.request_body(BODY), peer.response_headers(peer.EVENTS))
        with locked(folder / "aibridge.db") as other:
            await stream.tell(peer.response_body(ANSWER))
            await stream.end()
            child.process.stdin.write(b"15.0\n" if is_in_time else b"4.0\n")
            if is_in_time:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(child.process.wait(), 8)
                other.execute("ROLLBACK")
            status, said = await child.ended()
    assert (status, "records not written" in said) == (0, not is_in_time)
    assert ends(folder) == [("completed", None, "host:0") if is_in_time else (None, None, "host:0")]


async def test_it_does_not_outlive_its_parent(child: Child) -> None:
    """The end of standard input is the parent's end."""
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert (await child.ended())[0] == 0


async def test_ctrl_c_is_the_parents_to_hear(child: Child) -> None:
    """The terminal sends it to all of them."""
    child.process.send_signal(signal.SIGINT)
    async with peer.channel(child.address) as channel:
        stream = peer.talk(channel)
        assert await stream.ask(peer.request_headers()) == [peer.HEADERS_SEEN]
        await stream.end()


async def test_a_killed_workers_streams_break(child: Child, folder: Path) -> None:
    """Its rows stay open until it is replaced; the prompt is in them."""
    async with peer.channel(child.address) as channel:
        stream = peer.talk(channel)
        await stream.ask(peer.request_headers(), peer.request_body(BODY))
        child.process.kill()
        with pytest.raises(grpc.RpcError):
            await stream.hear()
    with closing(sqlite3.connect(folder / "aibridge.db")) as connection:
        assert connection.execute("SELECT status, open_prompt FROM interceptions").fetchall() == [
            (None, "canary in the prompt")
        ]


async def test_a_journal_that_cannot_be_used_is_said_in_one_line(folder: Path) -> None:
    (folder / "aibridge.db").unlink()
    async with started(folder) as (child, _):
        status, said = await child.ended()
    assert status == 1
    assert len(said.splitlines()) == 1
    assert f"{folder}/aibridge.db" in said
    assert "Traceback" not in said
