import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.recorder.journal.migration import migrate
from sidecar.recorder.journal.writer import GaveUp, Writer
from sidecar.recorder.rows import Row, row
from tests.recorder import journal_samples as samples
from tests.recorder.journal_samples import Logged, Told

Action = Callable[[], object]


class Pauses(threading.Event):
    """What happens in each pause between two tries; when nothing is left, the writer is told to stop."""

    def __init__(self, *actions: Action) -> None:
        super().__init__()
        self._actions = iter(actions)
        self.lengths: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.lengths.append(timeout or 0)
        action = next(self._actions, None)
        if action:
            action()
        return action is None


@pytest.fixture
def writer(database: Path, told: Told) -> Iterator[Writer]:
    writer = Writer(database, told)
    yield writer
    writer.close()


def rows() -> list[Row]:
    return [row(samples.started(), "", samples.WORKER), row(samples.ended(), "", samples.WORKER)]


def nothing() -> None:
    pass


def test_rows_are_kept(database: Path, writer: Writer, told: Told) -> None:
    assert writer.keep(rows(), Pauses()) == []
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]
    assert told.events == ["committed"]


def test_a_file_that_is_gone_is_no_place_to_keep_anything(database: Path, writer: Writer, logged: Logged) -> None:
    """SQLite would go on writing to what nobody can open any more."""
    saved = database.with_name("saved.db")
    database.rename(saved)
    writer.keep(rows(), Pauses(nothing, lambda: saved.rename(database)))
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]
    assert [logged()["event"] for _ in range(2)] == [
        "journal stalled, records are kept and tried again",
        "journal writes again, nothing was lost",
    ]


def test_another_file_in_its_place_is_left_alone(database: Path, tmp_path: Path, writer: Writer) -> None:
    """Our write-ahead log is still beside it, and would be applied to it: whoever starts anew may have it."""
    writer.keep(rows()[:1], Pauses())
    migrate(tmp_path / "other.db")
    other = (tmp_path / "other.db").read_bytes()
    (tmp_path / "other.db").replace(database)
    with pytest.raises(GaveUp):
        writer.keep(rows()[1:], Pauses(nothing))
    assert database.read_bytes() == other


def test_a_lock_is_waited_for_and_told_once(database: Path, writer: Writer, logged: Logged) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer.keep(rows(), Pauses(nothing, nothing, lambda: other.execute("ROLLBACK")))
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]
    assert [logged(), logged()] == [
        {
            "event": "journal stalled, records are kept and tried again",
            "reason": "SQLITE_BUSY",
            "records": 2,
            "level": "warning",
        },
        {"event": "journal writes again, nothing was lost", "level": "warning"},
    ]


def test_the_pauses_grow_to_half_a_second(database: Path, writer: Writer, logged: Logged) -> None:
    pauses = Pauses(*[nothing] * 6)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(GaveUp):
            writer.keep(rows(), pauses)
    assert pauses.lengths == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5]
    assert logged()["reason"] == "SQLITE_BUSY"


def test_a_broken_table_costs_no_record(database: Path, writer: Writer, logged: Logged) -> None:
    """Not a value's fault: what would fail for every record is waited for, not answered by leaving them all out."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("ALTER TABLE interceptions RENAME TO gone")
        writer.keep(rows(), Pauses(lambda: other.execute("ALTER TABLE gone RENAME TO interceptions")))
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]
    assert [logged().get("reason"), logged()["event"]] == ["SQLITE_ERROR", "journal writes again, nothing was lost"]


def test_a_file_that_is_away_for_a_while_is_found_again(database: Path, writer: Writer, logged: Logged) -> None:
    """No new file is made in its place."""
    away = database.with_suffix(".away")
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("ALTER TABLE interceptions RENAME TO gone")

        def restore() -> None:
            assert not database.exists()
            away.rename(database)
            other.execute("ALTER TABLE gone RENAME TO interceptions")

        writer.keep(rows(), Pauses(lambda: database.rename(away), restore))
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]
    assert [logged().get("reason"), logged()["event"]] == ["SQLITE_ERROR", "journal writes again, nothing was lost"]


def test_a_closed_writer_leaves_one_file(database: Path, told: Told) -> None:
    writer = Writer(database, told)
    writer.keep(rows(), Pauses())
    writer.close()
    assert list(database.parent.iterdir()) == [database]
