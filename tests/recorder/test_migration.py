import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine

from sidecar.core.errors import JournalUnavailable
from sidecar.recorder.journal.connection import check
from sidecar.recorder.journal.migration import _write_ahead, migrate
from tests.recorder import journal_samples as samples


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def refusal(database: Path, patience: float = 0.01) -> str:
    with pytest.raises(JournalUnavailable) as caught:
        migrate(database, patience=patience)
    return str(caught.value)


@pytest.mark.parametrize("mask", [0, 0o277])
def test_the_journal_is_its_owners_alone(tmp_path: Path, mask: int) -> None:
    """Whatever the umask takes or leaves; the files that SQLite makes beside it follow."""
    database = tmp_path / "journal.db"
    with umask(mask):
        migrate(database)
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("INSERT INTO user_prompts VALUES ('1', 'i', '', 'secret', 'now')")
            connection.commit()
            files = {path.name: mode(path) for path in tmp_path.iterdir()}
    assert files == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}


def test_a_journal_that_was_open_to_others_is_closed_to_them(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("SELECT * FROM user_prompts").fetchall()
        for path in database.parent.iterdir():
            path.chmod(0o644)
        migrate(database)
        assert {mode(path) for path in database.parent.iterdir()} == {0o600}


def test_missing_directories_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    with umask(0):
        migrate(tmp_path / "state" / "bridge" / "journal.db")
    assert [mode(tmp_path / "state"), mode(tmp_path / "state" / "bridge")] == [0o700, 0o700]


def test_a_directory_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o755)
    migrate(tmp_path / "shared" / "journal.db")
    assert mode(tmp_path / "shared") == 0o755


def test_the_journal_is_in_wal_mode(tmp_path: Path) -> None:
    migrate(tmp_path / "journal.db")
    assert samples.select(tmp_path / "journal.db", "PRAGMA journal_mode") == [("wal",)]


def test_migrating_again_changes_nothing(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO user_prompts VALUES ('1', 'i', '', 'hello', 'now')")
    migrate(database)
    assert samples.select(database, "SELECT * FROM user_prompts") == [("1", "i", "", "hello", "now")]


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    (tmp_path / "journal.db").touch()
    migrate(tmp_path / "journal.db")
    check(tmp_path / "journal.db")


def test_a_current_journal_needs_no_lock(database: Path) -> None:
    """A worker may be replaced while another one writes."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        migrate(database, patience=0.0)


RACE = """
import sys
from pathlib import Path
from sidecar.recorder.journal.migration import _write_ahead, migrate
print("ready", flush=True)
sys.stdin.readline()
migrate(Path(sys.argv[1]))
"""


def test_several_processes_may_migrate_at_once(tmp_path: Path) -> None:
    database = tmp_path / "new" / "journal.db"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert [(racer.communicate(timeout=60)[1], racer.returncode) for racer in racers] == [("", 0)] * 3
    check(database)


def test_a_corrupt_file_is_told_in_one_line(tmp_path: Path) -> None:
    database = tmp_path / "journal.db"
    database.write_bytes(b"\xff" * 4096)
    assert refusal(database) == f"journal {database}: file is not a database"


def test_a_directory_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal.db").mkdir(mode=0o755)
    assert refusal(tmp_path / "journal.db") == f"journal {tmp_path}/journal.db: it is not a regular file"
    assert mode(tmp_path / "journal.db") == 0o755


def test_a_file_in_its_directorys_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert refusal(tmp_path / "state" / "journal.db") == f"journal {tmp_path}/state/journal.db: Not a directory"


def test_a_newer_schema_is_told_and_left_alone(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert refusal(database) == f"journal {database}: its schema 9999 is newer than this version of the sidecar"
    assert samples.select(database, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    assert refusal(tmp_path / "other.db") == f"journal {tmp_path}/other.db: it is another program's database"
    assert samples.select(tmp_path / "other.db", "SELECT name FROM sqlite_master") == [("bookmarks",)]


def test_a_database_locked_too_long_is_told(tmp_path: Path) -> None:
    database = tmp_path / "journal.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        assert refusal(database) == f"journal {database}: database is locked"


def test_a_database_held_exclusively_is_told(tmp_path: Path) -> None:
    """Not even its journal mode can be changed then."""
    database = tmp_path / "journal.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert refusal(database) == f"journal {database}: database is locked"


def test_a_file_that_cannot_be_written_is_told() -> None:
    """One that not even root may write."""
    database = Path("/proc/sys/kernel/osrelease")
    assert refusal(database) == f"journal {database}: it cannot be read and written"


def test_a_store_without_write_ahead_logging_is_told() -> None:
    """SQLite does not fail there, it names the mode that it kept; memory is such a store."""
    engine = create_engine("sqlite://", poolclass=NullPool)
    with engine.connect() as connection, pytest.raises(JournalUnavailable, match="memory, not WAL"):
        _write_ahead(connection, Path("journal.db"))


def test_a_journal_of_the_first_schema_keeps_what_it_has(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("ALTER TABLE interceptions DROP COLUMN trace_id")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        old = {name: value for name, value in samples.STARTED_ROW.items() if name != "trace_id"}
        marks = ", ".join(f":{name}" for name in old)
        connection.execute(f"INSERT INTO interceptions ({', '.join(old)}) VALUES ({marks})", old)  # noqa: S608 - a test's
    migrate(database)
    assert samples.table(database, "interceptions") == [samples.STARTED_ROW | {"trace_id": None}]
