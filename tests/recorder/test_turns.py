import fcntl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.core.errors import JournalUnavailable
from sidecar.recorder.journal.owners import owning
from sidecar.recorder.journal.turns import turn
from tests.e2e.waiting import PATIENCE

TAKE = """
import sys
from pathlib import Path
from sidecar.recorder.journal.turns import turn

print("asks", flush=True)
with turn(Path(sys.argv[1]), waits=False) as is_ours:
    print("has it" if is_ours else "has it not", flush=True)
with turn(Path(sys.argv[1])) as is_ours:
    print("has it" if is_ours else "has it not", flush=True)
"""


def lock_of(database: Path) -> Path:
    return database.parent / "journal.db.forwarding.lock"


def test_a_turn_is_one_s_at_a_time(database: Path) -> None:
    """Processes, as a forwarder and a purge are."""
    with turn(database):
        other = subprocess.Popen([sys.executable, "-c", TAKE, database], stdout=subprocess.PIPE, text=True)
        assert other.stdout
        assert [other.stdout.readline() for _ in range(2)] == ["asks\n", "has it not\n"]
        with lock_of(database).open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with other:
        assert other.communicate(timeout=PATIENCE)[0] == "has it\n"
    assert other.returncode == 0


def test_its_file_is_the_owner_s_alone_and_stays(database: Path) -> None:
    """One that starts a bridge takes away the locks that nobody holds; were it this one, two could hold it."""
    with turn(database):
        pass
    lock = lock_of(database)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    with owning(database, "a1b2c3d4"):
        assert lock.exists()


def test_a_turn_that_cannot_be_taken_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(JournalUnavailable, match=r"nowhere/journal\.db\.forwarding\.lock: No such file or directory$"),
        turn(tmp_path / "nowhere" / "journal.db"),
    ):
        pytest.fail("taken")
