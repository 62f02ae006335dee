"""The wall clock is set back while a worker serves, as NTP or an administrator may do it: records stay sound."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from sidecar.ids import Ids
from sidecar.pulse import Pulse
from tests.contract import peer
from tests.contract.worker import NOW, Worker, serving

HOUR = 3600.0
TOOK = 2.5  # seconds that an exchange takes
BODY = b'{"model":"gpt-5","input":"hi"}'
ANSWER = b'{"id":"resp_1","status":"completed","usage":{"input_tokens":3,"output_tokens":2}}'
ROWS = "SELECT id, started_at, ended_at, status FROM interceptions ORDER BY id"


@dataclass
class Clocks:
    """The one on the wall, which may be set, and the steady one."""

    wall: float = NOW
    steady: float = 100.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
async def worker(tmp_path: Path, clocks: Clocks) -> AsyncIterator[Worker]:
    async with serving(tmp_path) as running:
        running.processor.now = lambda: clocks.wall
        running.processor.pulse = Pulse(lambda: clocks.steady)
        running.processor.new_id = Ids(lambda: clocks.wall)
        yield running


async def exchange(worker: Worker, clocks: Clocks, *, steps: float = 0.0) -> None:
    """One that takes its time; the clock is set by `steps` seconds amid it."""
    stream = worker.stream()
    await stream.ask(peer.request_headers(), peer.request_body(BODY))
    clocks.pass_(TOOK)
    clocks.wall += steps
    await stream.ask(peer.response_headers(), peer.response_body(ANSWER, end=True))
    await stream.end()
    await worker.settled()


def took(row: dict[str, str]) -> float:
    began, ended = (datetime.fromisoformat(row[name]) for name in ("started_at", "ended_at"))
    return (ended - began).total_seconds()


@pytest.mark.parametrize("steps", [-HOUR, -0.001, HOUR])
async def test_an_exchange_took_what_it_took_however_the_clock_is_set(
    worker: Worker, clocks: Clocks, steps: float
) -> None:
    await exchange(worker, clocks, steps=steps)
    (row,) = worker.rows(ROWS)
    assert (row["status"], took(row)) == ("completed", TOOK)


async def test_what_comes_after_is_behind_what_was_before_and_has_the_time_of_then(
    worker: Worker, clocks: Clocks
) -> None:
    """By id; by time it stands where the clock says."""
    await exchange(worker, clocks)
    clocks.wall -= HOUR
    await exchange(worker, clocks)
    before, after = worker.rows(ROWS)
    assert [took(row) for row in (before, after)] == [TOOK, TOOK]
    assert before["id"] < after["id"]
    assert before["started_at"] > after["started_at"]


async def test_a_worker_does_not_think_that_it_stood_still(worker: Worker, clocks: Clocks) -> None:
    """Only the steady clock tells that; else what a client breaks off would be called unobserved."""
    stream = worker.stream()
    await stream.ask(peer.request_headers(), peer.request_body(BODY), peer.response_headers())
    clocks.wall += HOUR
    stream.call.cancel()
    await worker.settled()
    assert worker.ends() == [("failed", "disconnected", 200)]
