"""A parent that was killed, and its successor in the same place: what the old workers have under way ends first."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar.settings import load
from tests.contract import peer
from tests.e2e.bridges import STOPPED_WITHIN, free_ports, launched, written
from tests.e2e.processes import children, is_running, listens
from tests.e2e.recorded import rows
from tests.e2e.waiting import eventually

BODY = b'{"model":"gpt-5","input":"hello","stream":true}'
ANSWER = b'data: {"type":"response.completed","response":{"id":"resp_1"}}\n\n'
PARENT_STARTS = 60.0  # seconds

Serve = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts `serve`, all in one place, their output in folders of that name; none outlives the test."""
    file, started = written(tmp_path, free_ports(), {"providers": [{"api_key": "sk-x"}]}), []

    def start(name: str) -> subprocess.Popen[bytes]:
        (tmp_path / name).mkdir()
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


async def test_a_successor_waits_for_the_old_workers_and_then_serves(tmp_path: Path, serve: Serve) -> None:
    """It would end their rows as lost, and lose its socket to them: gRPC removes the path when it stops."""
    first = serve("first")
    eventually(lambda: said(tmp_path, "first", '"ready"'), "ready", PARENT_STARTS)
    (old,) = children(first.pid)
    socket = load(tmp_path / "aibridge.toml").socket(0)
    async with peer.channel(f"unix:{socket}") as channel:
        stream = peer.talk(channel)
        await stream.ask(peer.request_headers(), peer.request_body(BODY), peer.response_headers(peer.EVENTS))
        first.kill()
        first.wait()
        second = serve("second")
        eventually(lambda: said(tmp_path, "second", "waiting for another bridge to end"), "it waits", PARENT_STARTS)
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
