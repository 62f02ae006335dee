import stat
import subprocess
from pathlib import Path

import pytest

from sidecar.core.errors import JournalUnavailable
from sidecar.recorder.journal.owners import is_dead, owning
from tests.e2e.waiting import PATIENCE

WORKER = "host:127.0.0.1:10000:a1b2c3d4:0"


def locks(database: Path) -> list[str]:
    return sorted(path.name for path in database.parent.iterdir() if path != database)


def test_an_owner_is_alive_while_it_holds_its_lock_and_leaves_nothing_behind(database: Path) -> None:
    with owning(database, "a1b2c3d4"):
        assert locks(database) == ["journal.db.a1b2c3d4.lock"]
        assert stat.S_IMODE((database.parent / "journal.db.a1b2c3d4.lock").stat().st_mode) == 0o600
        assert not is_dead(database, WORKER)
    assert is_dead(database, WORKER)
    assert locks(database) == []


def test_several_live_side_by_side(database: Path) -> None:
    """One that starts takes away what nobody holds, and nothing else."""
    (database.parent / "journal.db.0000.lock").touch()
    (database.parent / "other.db.0000.lock").touch()
    with owning(database, "a1b2c3d4"), owning(database, "e5f6"):
        assert locks(database) == ["journal.db.a1b2c3d4.lock", "journal.db.e5f6.lock", "other.db.0000.lock"]


def test_an_owner_lives_as_long_as_its_last_worker(database: Path) -> None:
    """The descriptor is what counts. Renamed, the lock stays when its owner ends, as if that was killed."""
    with owning(database, "a1b2c3d4") as lock:
        (database.parent / "journal.db.a1b2c3d4.lock").rename(database.parent / "journal.db.held.lock")
        worker = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock,))
    with worker, owning(database, "e5f6"):
        assert locks(database) == ["journal.db.e5f6.lock", "journal.db.held.lock"]
        worker.communicate(timeout=PATIENCE)
    with owning(database, "e5f7"):
        assert locks(database) == ["journal.db.e5f7.lock"]


@pytest.mark.parametrize("worker", ["", "a", "host:0", "host:127.0.0.1:10000:0", "../x:0", "a/b:0"])
def test_a_name_of_another_form_is_nobody_s(database: Path, worker: str) -> None:
    with owning(database, "a1b2c3d4"):
        assert is_dead(database, worker)


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(JournalUnavailable, match=r"nowhere/journal\.db\.a1\.lock: No such file or directory$"),
        owning(tmp_path / "nowhere" / "journal.db", "a1"),
    ):
        pytest.fail("owned")
