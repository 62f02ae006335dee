import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest
from typing_extensions import override

from sidecar.children import Child, NotStarted, Worker, asked
from sidecar.recorder.journal.migration import migrate
from sidecar.settings import Settings
from tests.e2e.processes import children, is_running, listens
from tests.e2e.waiting import PATIENCE

SERVES = "print('serving', flush=True); import time; time.sleep(600)"
ENDS = "pass"
HANGS = "import time; time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVES
SERVES_AND_ENDS = "print('serving', flush=True)"


class Program(Child):
    """A Python program, which serves when it has said something. `programs`: one a start, the last of them stays."""

    def __init__(self, *programs: str, bound: float = PATIENCE, patience: float = PATIENCE) -> None:
        super().__init__("program", bound)
        self.patience = patience
        self.pids: list[int] = []
        self.ends = 0
        self.spawned = asyncio.Event()
        self._programs = list(programs)

    @override
    async def _spawned(self) -> Process:
        program = self._programs.pop(0) if len(self._programs) > 1 else self._programs[0]
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", program, stdout=PIPE)
        self.pids.append(process.pid)
        self.spawned.set()
        return process

    @override
    async def _serves(self, process: Process) -> bool:
        assert process.stdout
        return await process.stdout.readline() != b""

    @override
    async def _ended(self) -> None:
        self.ends += 1


async def started(child: Program, number: int) -> None:
    """Returns when it has been started so many times."""
    while len(child.pids) < number:
        child.spawned.clear()
        await asyncio.wait_for(child.spawned.wait(), PATIENCE)


async def test_a_child_that_serves_runs_until_it_is_stopped() -> None:
    child = Program(SERVES)
    assert not child.is_running()
    await child.start()
    assert child.is_running()
    await child.stop()
    assert not child.is_running()


async def test_a_child_that_ends_instead_of_serving_is_not_started() -> None:
    with pytest.raises(NotStarted, match=r"^program did not come to serve; its own lines say why$"):
        await Program(ENDS).start()


class Unfit(Program):
    """A program that the kernel will not run."""

    @override
    async def _spawned(self) -> Process:
        return await asyncio.create_subprocess_exec(__file__)


async def test_a_child_that_cannot_be_run_is_not_started() -> None:
    with pytest.raises(NotStarted, match=r"^program cannot be run: Permission denied$"):
        await Unfit(SERVES).start()


ASKING = """
import asyncio, sys
from sidecar.children import NotStarted, asked
sys.executable = sys.argv[1]
try:
    asyncio.run(asked("sidecar.bootstrap", None))
except NotStarted as error:
    print(error)
"""


def test_who_is_to_be_asked_and_cannot_be_run_is_not_started() -> None:
    """Of a process of its own, as the parent is: gRPC, which others here have loaded, has a hand in every fork."""
    said = subprocess.run([sys.executable, "-c", ASKING, __file__], check=True, capture_output=True)
    assert said.stdout == b"sidecar.bootstrap cannot be run: Permission denied\n"


async def test_who_is_asked_and_takes_too_long_is_not_left_running() -> None:
    before = children(os.getpid())
    with pytest.raises(NotStarted, match=r"^this took longer than 0 s$"):
        await asked("this", None, patience=0)
    assert children(os.getpid()) == before


async def test_a_child_that_never_serves_is_not_left_running() -> None:
    """Nobody would ever replace it."""
    child = Program(HANGS, patience=0.1)
    with pytest.raises(NotStarted):
        await child.start()
    assert not child.is_running()
    assert not is_running(child.pids[0])


async def test_a_child_that_does_not_hear_is_ended_all_the_same() -> None:
    child = Program(STUBBORN, bound=0.1)
    await child.start()
    await child.stop()
    assert not is_running(child.pids[0])


async def test_a_child_has_no_longer_than_its_parent() -> None:
    child = Program(STUBBORN)
    await child.start()
    await asyncio.wait_for(child.stop(asyncio.get_running_loop().time() + 0.1), PATIENCE / 2)
    assert not is_running(child.pids[0])


async def test_what_never_started_stops_at_once() -> None:
    await Program(SERVES).stop()


async def test_a_child_that_ends_is_replaced_once_what_it_left_is_dealt_with() -> None:
    child = Program(SERVES)
    await child.start()
    keeping = asyncio.create_task(child.keep())
    os.kill(child.pids[0], signal.SIGKILL)
    await started(child, 2)
    assert (child.ends, child.is_running()) == (1, True)
    await child.stop()
    await asyncio.wait_for(keeping, PATIENCE)
    assert len(child.pids) == 2


async def test_a_successor_that_does_not_serve_is_replaced_too() -> None:
    child = Program(SERVES_AND_ENDS, ENDS, SERVES)
    await child.start()
    keeping = asyncio.create_task(child.keep())
    await started(child, 3)
    await child.stop()
    await asyncio.wait_for(keeping, PATIENCE)
    assert len(child.pids) == 3


class Unwanted(Program):
    """A program that is told to stop when it has ended by itself."""

    @override
    async def _ended(self) -> None:
        await self.stop()


async def test_a_child_that_was_stopped_is_not_started_again() -> None:
    """Not even when it is told so between its end and its successor's start."""
    child = Unwanted(SERVES_AND_ENDS, SERVES)
    await child.start()
    await asyncio.wait_for(child.keep(), PATIENCE)
    assert len(child.pids) == 1


async def test_a_child_that_is_stopped_while_it_starts_does_not_stay() -> None:
    child = Program(HANGS)
    starting = asyncio.create_task(child.start())
    await started(child, 1)
    await child.stop()
    with pytest.raises(NotStarted):
        await asyncio.wait_for(starting, PATIENCE)
    assert not is_running(child.pids[0])


async def test_a_child_that_was_stopped_before_it_started_never_serves() -> None:
    child = Program(SERVES)
    await child.stop()
    with pytest.raises(NotStarted):
        await child.start()
    assert child.pids == []


async def test_a_worker_serves_at_its_socket_and_its_end_is_told_by_its_name(tmp_path: Path) -> None:
    """By that name its open interceptions are found."""
    settings = Settings(runtime_dir=tmp_path, recorder={"url": f"sqlite:///{tmp_path}/records.db"})
    migrate(settings.database)
    told: asyncio.Queue[str] = asyncio.Queue()
    worker = Worker(settings, 3, "host:1:3", told.put)
    await worker.start()
    keeping = asyncio.create_task(worker.keep())
    assert settings.socket(3).is_socket()
    (pid,) = (pid for pid in children(os.getpid()) if listens(pid, settings.socket(3)))
    os.kill(pid, signal.SIGKILL)
    assert await asyncio.wait_for(told.get(), PATIENCE) == "host:1:3"
    await worker.stop()
    await asyncio.wait_for(keeping, PATIENCE)


async def test_a_worker_that_stands_still_for_good_is_replaced(tmp_path: Path) -> None:
    """It would hold its place, and Envoy's requests up, for ever."""
    settings = Settings(runtime_dir=tmp_path, recorder={"url": f"sqlite:///{tmp_path}/records.db"})
    migrate(settings.database)
    told: asyncio.Queue[str] = asyncio.Queue()
    worker = Worker(settings, 0, "host:1:0", told.put)
    worker.silence = 6.0
    await worker.start()
    keeping = asyncio.create_task(worker.keep())
    (pid,) = (pid for pid in children(os.getpid()) if listens(pid, settings.socket(0)))
    os.kill(pid, signal.SIGSTOP)
    assert await asyncio.wait_for(told.get(), PATIENCE) == "host:1:0"
    assert not is_running(pid)
    await worker.stop()
    await asyncio.wait_for(keeping, PATIENCE)


async def test_a_worker_that_lives_is_left_alone(tmp_path: Path) -> None:
    settings = Settings(runtime_dir=tmp_path, recorder={"url": f"sqlite:///{tmp_path}/records.db"})
    migrate(settings.database)
    told: asyncio.Queue[str] = asyncio.Queue()
    worker = Worker(settings, 0, "host:1:0", told.put)
    worker.silence = 6.0
    await worker.start()
    keeping = asyncio.create_task(worker.keep())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(told.get(), 2 * worker.silence)
    await worker.stop()
    await asyncio.wait_for(keeping, PATIENCE)


async def test_a_worker_whose_journal_is_missing_does_not_start(tmp_path: Path) -> None:
    settings = Settings(runtime_dir=tmp_path, recorder={"url": f"sqlite:///{tmp_path}/records.db"})
    told: asyncio.Queue[str] = asyncio.Queue()
    with pytest.raises(NotStarted, match=r"^worker 0 did not come to serve"):
        await Worker(settings, 0, "host:1:0", told.put).start()
