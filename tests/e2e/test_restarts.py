"""Two parents and one journal: a successor in the place of one that was killed, and a neighbour."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract import peer
from tests.e2e.bridges import STOPPED_WITHIN, free_ports, launched, written
from tests.e2e.processes import children, is_running, listens
from tests.e2e.recorded import rows
from tests.e2e.waiting import eventually

BODY = b'{"model":"gpt-5","input":"hello","stream":true}'
ANSWER = b'data: {"type":"response.completed","response":{"id":"resp_1"}}\n\n'
PARENT_STARTS = 60.0  # seconds

Serve = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts `serve`, all with one journal, their output in folders of that name; none outlives the test."""
    ports, started = free_ports(), []

    def start(name: str, run: str = "run") -> subprocess.Popen[bytes]:
        (tmp_path / name).mkdir()
        file = written(tmp_path, ports, {"runtime_dir": str(tmp_path / run), "providers": [{"api_key": "sk-x"}]})
        started.append(launched(tmp_path / name, file, "serve"))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def said(tmp_path: Path, name: str, text: str) -> bool:
    return text in (tmp_path / name / "output.log").read_text()


def ends(tmp_path: Path) -> list[tuple[object, object]]:
    found = rows(tmp_path / "records.db", "SELECT status, error_type FROM interceptions ORDER BY id")
    return [(row["status"], row["error_type"]) for row in found]


def is_locked(path: Path) -> bool:
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def locks(tmp_path: Path) -> list[Path]:
    """Those of owners, beside the journal."""
    return list(tmp_path.glob("records.db.*.lock"))


async def test_a_successor_waits_for_the_old_workers_and_then_serves(tmp_path: Path, serve: Serve) -> None:
    """It would end their rows as lost, and lose its socket to them: gRPC removes the path when it stops."""
    first = serve("first")
    eventually(lambda: said(tmp_path, "first", '"ready"'), "ready", PARENT_STARTS)
    (old,) = children(first.pid)
    socket = tmp_path / "run" / "worker-0.sock"
    async with peer.channel(f"unix:{socket}") as channel:
        stream = peer.talk(channel)
        await stream.ask(peer.request_headers(), peer.request_body(BODY), peer.response_headers(peer.EVENTS))
        second = serve("second")
        eventually(lambda: said(tmp_path, "second", "waiting for another bridge to end"), "it waits", PARENT_STARTS)
        first.kill()
        first.wait()
        assert is_locked(tmp_path / "run" / "lock")
        assert (is_running(old), ends(tmp_path)) == (True, [(None, None)])
        await stream.ask(peer.response_body(ANSWER))
        await stream.end()
    eventually(lambda: said(tmp_path, "second", '"ready"'), "ready", PARENT_STARTS)
    assert not is_running(old)
    assert ends(tmp_path) == [("completed", None)]
    assert [listens(pid, socket) for pid in children(second.pid)] == [True]
    async with peer.channel(f"unix:{socket}") as channel:
        stream = peer.talk(channel)
        assert await stream.ask(peer.request_headers()) == [peer.HEADERS_SEEN]
        await stream.end()
    second.terminate()
    assert second.wait(STOPPED_WITHIN) == 0


async def test_a_neighbour_leaves_alone_what_is_not_its_own(tmp_path: Path, serve: Serve) -> None:
    """Not even the same address makes it an heir: the other one lives. Once that has been killed it is one."""
    first = serve("first")
    eventually(lambda: said(tmp_path, "first", '"ready"'), "ready", PARENT_STARTS)
    (worker,) = children(first.pid)
    async with peer.channel(f"unix:{tmp_path}/run/worker-0.sock") as channel:
        done, cut = peer.talk(channel), peer.talk(channel)
        for stream in (done, cut):
            await stream.ask(peer.request_headers(), peer.request_body(BODY), peer.response_headers(peer.EVENTS))
        second = serve("second", "other")
        eventually(lambda: said(tmp_path, "second", '"ready"'), "ready", PARENT_STARTS)
        assert ends(tmp_path) == [(None, None), (None, None)]
        second.terminate()
        assert second.wait(STOPPED_WITHIN) == 0
        await done.ask(peer.response_body(ANSWER))
        await done.end()
        assert ends(tmp_path) == [("completed", None), (None, None)]
        assert len(locks(tmp_path)) == 1
        for pid in (first.pid, worker):
            os.kill(pid, signal.SIGKILL)
        first.wait()
        eventually(lambda: not is_running(worker), "its end")
    third = serve("third", "other")
    eventually(lambda: said(tmp_path, "third", '"ready"'), "ready", PARENT_STARTS)
    assert ends(tmp_path) == [("completed", None), ("failed", "lost")]
    third.terminate()
    assert third.wait(STOPPED_WITHIN) == 0
    assert locks(tmp_path) == []
