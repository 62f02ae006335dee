import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.core.errors import JournalUnavailable
from sidecar.recorder.journal.connection import check, connect, uri


def test_a_commit_waits_for_the_disk_and_the_log_stays_bounded(database: Path) -> None:
    with closing(connect(database)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA journal_size_limit").fetchone() == (67_108_864,)
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (200,)


def test_connecting_never_makes_an_empty_file(tmp_path: Path) -> None:
    """A journal that was moved away must be missed, not replaced."""
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "journal.db")
    assert list(tmp_path.iterdir()) == []


def test_any_path_can_be_named() -> None:
    assert uri(Path("/a b/50%?#.db"), "ro") == "file:///a%20b/50%25%3F%23.db?mode=ro"


def test_a_journal_of_this_version_passes(database: Path) -> None:
    check(database)


def test_a_missing_file_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable) as caught:
        check(tmp_path / "journal.db")
    assert str(caught.value) == f"journal {tmp_path}/journal.db: there is no such file"


def test_another_programs_database_is_told(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(JournalUnavailable, match=r"other\.db: not a journal of ours$"):
        check(tmp_path / "other.db")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_text("dear diary, " * 100)
    with pytest.raises(JournalUnavailable, match=r"journal\.db: file is not a database$"):
        check(tmp_path / "journal.db")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "its schema 9999 is newer than this version"),
        ("UPDATE alembic_version SET version_num = '0001'", "its schema is not 0002; start this version"),
        ("DELETE FROM alembic_version", "its schema is not 0002; start this version"),
    ],
)
def test_another_schema_is_told(database: Path, statement: str, told: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)
    with pytest.raises(JournalUnavailable, match=told):
        check(database)


def test_a_name_that_no_file_can_have_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="File name too long"):
        check(tmp_path / ("x" * 300))
