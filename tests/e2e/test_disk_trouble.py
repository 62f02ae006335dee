"""A journal that cannot be written, or not be read: no request goes out unrecorded, and it mends without a hand."""

import ctypes
import os
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from sidecar.recorder.journal.migration import migrate
from tests.conftest import StartBridge
from tests.e2e.bridges import COMMAND, ROOT, Bridge, environment, free_ports, written
from tests.e2e.connections import Connection, ask, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, FIRST, PROMPT, pieces, streamed, whole
from tests.e2e.processes import killed
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

USUAL = {"start_commit_timeout": 2.0, "end_commit_timeout": 1.0}
NOT_RECORDED = {"code": "500", "message": "failed to record interception"}
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # prctl(2), capabilities(7)


@contextmanager
def full(pid: int, most: int) -> Iterator[None]:
    """No file of the process's grows beyond so many bytes: EFBIG where a full disk says ENOSPC, as root too."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def read_only(database: Path) -> Iterator[None]:
    files = [path for path in database.parent.glob(f"{database.name}*") if not path.name.endswith(".lock")]
    for path in files:
        path.chmod(0o400)
    try:
        yield
    finally:
        for path in files:
            path.chmod(0o600)


def bound_by_modes() -> None:
    """Whoever this thread starts may not write what is read-only, root included."""
    dropped = ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)
    assert dropped == 0 or os.geteuid() != 0


def damage(database: Path, name: str) -> None:
    """Overwrite the first page of that table or index."""
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with database.open("r+b") as file:
        file.seek((found[0] - 1) * size)
        file.write(b"\xff" * size)


def killed_worker(running: Bridge) -> None:
    """Its worker is replaced by one that opens the journal anew."""
    (worker,) = running.workers()
    killed(worker)


def refused_unsent(running: Bridge, provider: ThreadedProvider, name: str) -> None:
    """A new request is not recorded, and so not sent."""
    response = ask(running.port, name, ASKED)
    assert (response.status, response.json()) == (500, NOT_RECORDED)
    assert name not in provider.seen


def test_a_full_disk_refuses_what_is_new_and_loses_nothing_of_what_runs(
    start_bridge: StartBridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """What runs is delivered and recorded once there is room."""
    running, new = start_bridge(limits=USUAL), f"{case}-new"
    script[case], script[new] = streamed(case, hold=1), whole(new)
    with Connection(running.port) as connection:
        connection.send(request(case, ASKED_STREAM))
        connection.head()
        connection.until(FIRST)
        (worker,) = running.workers()
        size = Path(f"{running.database}-wal").stat().st_size
        with full(worker, size):
            provider.release(case)
            assert connection.rest() == (b"".join(pieces(case)[1:]), True)
            refused_unsent(running, provider, new)
            assert running.sessions(case)[0].ended == (None, None, None)
    recorded = running.ending(case)
    assert recorded.ended == ("completed", None, 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]
    eventually(lambda: [one.ended for one in running.sessions(new)] == [("failed", "rejected", 500)], "the refused one")
    assert ask(running.port, new, ASKED).status == 200
    assert running.workers() == [worker]
    for said in ("journal stalled, records are kept", "let go before its records were safe", "journal writes again"):
        assert said in running.output
    assert running.stop() == 0


def test_a_read_only_journal_refuses_what_is_new_until_it_can_be_written(
    start_bridge: StartBridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Who has it open goes on writing; who opens it then cannot, and can as soon as it is as it was."""
    with ThreadPoolExecutor(1, initializer=bound_by_modes) as pool:
        running = pool.submit(start_bridge, limits=USUAL).result()
    script[case] = whole(case)
    with read_only(running.database):
        killed_worker(running)
        eventually(lambda: ask(running.port, "", b"no JSON").status == 400, "another worker")
        refused_unsent(running, provider, case)
        assert '"SQLITE_READONLY"' in running.output
    eventually(lambda: ask(running.port, case, ASKED).status == 200, "service again")
    assert running.stop() == 0


@pytest.mark.parametrize("table", ["interceptions", "user_prompts", "ix_token_usages_interception_id"])
def test_a_damaged_journal_is_named_at_the_start(tmp_path: Path, table: str) -> None:
    """It is left as it is, for whoever can mend it; without it the bridge starts."""
    database = tmp_path / "records.db"
    migrate(database)
    damage(database, table)
    before = database.read_bytes()
    file = written(tmp_path, free_ports(), {"providers": [{"api_key": "sk-x"}]})
    done = subprocess.run(
        [*COMMAND, "up", "--config", file], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"aibridge-sidecar: journal {database}: database disk image is malformed"]
    assert database.read_bytes() == before
