"""Two workers behind one Envoy: what befalls one is none of the other's business."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from examples.provider import ThreadedProvider
from tests.conftest import StartBridge
from tests.e2e.bridges import Bridge
from tests.e2e.connections import Connection, ask, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, FIRST, PROMPT, pieces, streamed, whole
from tests.e2e.processes import is_running, listens
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

STREAMS = 8


@pytest.fixture
def pair(start_bridge: StartBridge) -> Iterator[Bridge]:
    running = start_bridge(workers=2)
    eventually(lambda: running.statistic("cluster.sidecar.membership_healthy") == 2, "two workers that get requests")
    yield running
    assert running.stop() == 0


def test_killing_one_worker_leaves_the_other_s_streams_and_rows_alone(
    pair: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    names = [f"{case}-{number}" for number in range(STREAMS)]
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(pair.port)) for _ in names]
        for name, connection in zip(names, connections, strict=True):
            script[name] = streamed(name, hold=1)
            connection.send(request(name, ASKED_STREAM))
            connection.head()
            connection.until(FIRST)
        owners = {name: pair.sessions(name)[0].interception["worker"] for name in names}
        dead, alive = sorted(set(owners.values()))
        os.kill(pid(pair, dead), signal.SIGKILL)
        lost, kept = ([name for name in names if owners[name] == worker] for worker in (dead, alive))
        for name in lost:
            assert pair.ending(name).ended == ("failed", "lost", None)
        assert [pair.sessions(name)[0].ended for name in kept] == [(None, None, None)] * len(kept)
        for name in names:
            provider.release(name)
        for name, connection in zip(names, connections, strict=True):
            assert connection.rest() == (b"".join(pieces(name)[1:]), True)
    for name in kept:
        assert pair.session(name).ended == ("completed", None, 200)
        assert pair.session(name).asked == [(f"resp_{name}", PROMPT)]
    for name in lost:
        assert pair.session(name).asked == [("", PROMPT)]


def test_while_one_worker_is_away_the_other_serves_everybody(
    pair: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """As soon as Envoy has seen it go, it asks the next one before anything is lost."""
    first, second = pair.workers()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not is_running(first) and ask(pair.port, "", b"no JSON").status == 400, "the other's refusal")
    for number in range(20):
        name = f"{case}-{number}"
        script[name] = whole(name)
        assert ask(pair.port, name, ASKED).status == 200
        assert pair.session(name).ended == ("completed", None, 200)
        assert len(provider.seen[name]) == 1
    assert second in pair.workers()


def pid(bridge: Bridge, worker: str) -> int:
    """The process that serves as this worker: the last part of its name numbers its socket."""
    path = sorted(bridge.run.glob("*.sock"))[int(worker.rpartition(":")[2])]
    return next(pid for pid in bridge.children() if listens(pid, path))
