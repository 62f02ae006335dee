"""The journal as its forwarder sees it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.core.records import Record
from sidecar.recorder.batches import CHILDREN, INTERCEPTIONS, TABLES, Batch
from sidecar.recorder.journal import backlog as backlog_module
from sidecar.recorder.journal.backlog import Backlog
from sidecar.recorder.journal.connection import connect, used
from sidecar.recorder.journal.transaction import commit
from sidecar.recorder.rows import row, seconds
from tests.recorder.journal_samples import WORKER, ended, numbered, prompt, select, started, whole

NEW_ID = numbered()


def keep(database: Path, *records: Record) -> None:
    with closing(connect(database)) as connection:
        assert commit(connection, [row(record, NEW_ID(), WORKER) for record in records]) == []  # type: ignore[arg-type]


def ids(batch: Batch) -> list[object]:
    return [found[0] for found in batch.rows[INTERCEPTIONS]]


@pytest.fixture
def backlog(database: Path) -> Iterator[Backlog]:
    with closing(Backlog(database)) as opened:
        yield opened


def test_what_has_ended_goes_as_a_whole_and_what_is_open_does_not(database: Path, backlog: Backlog) -> None:
    keep(database, started("i-1"), *whole("i-1"), started("i-2"))
    batch = backlog.ended()
    assert ids(batch) == ["i-1"]
    assert {table: len(rows) for table, rows in batch.rows.items()} == dict.fromkeys(TABLES, 1)
    for table in TABLES:
        assert [dict(zip(_columns(database, table), found, strict=True)) for found in batch.rows[table]] == [
            one for one in _rows(database, table) if "i-1" in one.values()
        ]


def test_a_batch_begins_with_the_oldest_and_has_a_bound(
    database: Path, backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog_module, "AT_ONCE", 3)
    for number in (5, 4, 3, 2, 1):
        keep(database, started(f"i-{number}"), ended(f"i-{number}"))
    assert ids(backlog.ended()) == ["i-1", "i-2", "i-3"]
    assert ids(backlog.ended({"i-1", "i-3"})) == ["i-2", "i-4", "i-5"]


def test_large_texts_make_small_batches(database: Path, backlog: Backlog) -> None:
    """Five hundred prompts of a megabyte each would be too much for anybody's memory."""
    for number in range(100, 164):
        name = f"i-{number}"
        keep(database, started(name), prompt(name, "x" * 1_048_576), ended(name))
    first = backlog.ended()
    assert 0 < len(ids(first)) < 64
    assert sum(len(str(found[3])) for found in first.rows["user_prompts"]) < 3 * backlog_module.BYTES


def test_what_is_forgotten_is_gone_with_all_that_belongs_to_it(database: Path, backlog: Backlog) -> None:
    for number in range(250):  # more than one transaction's worth
        keep(database, started(f"i-{number}"), *whole(f"i-{number}"))
    keep(database, started("other"), prompt("other"))
    backlog.forget([f"i-{number}" for number in range(250)])
    assert [one["id"] for one in _rows(database, INTERCEPTIONS)] == ["other"]
    assert [one["interception_id"] for table in CHILDREN for one in _rows(database, table)] == ["other"]


def test_forgetting_that_fails_has_changed_nothing(database: Path, backlog: Backlog) -> None:
    keep(database, started("i-1"), *whole("i-1"))
    with closing(sqlite3.connect(database)) as other:
        other.execute("DROP TABLE model_thoughts")
    with pytest.raises(sqlite3.OperationalError):
        backlog.forget(["i-1"])
    assert len(_rows(database, "user_prompts")) == 1
    with closing(connect(database)) as writer:  # and no lock is left behind
        writer.execute("DELETE FROM user_prompts")


def test_what_is_open_for_long_is_shown_once(database: Path, backlog: Backlog) -> None:
    keep(database, started("old", at=100.0), started("young", at=200.0), started("done", at=100.0), ended("done"))
    assert ids(backlog.opened(150.0)) == ["old"]
    assert ids(backlog.opened(150.0, {"old"})) == []
    assert backlog.still_open({"old", "done", "unknown"}) == {"old"}


def test_its_state_is_how_much_has_ended_and_since_when(database: Path, backlog: Backlog) -> None:
    assert backlog.state() == (0, None)
    keep(database, started("i-1", at=100.5), ended("i-1"), started("i-2", at=200.0), ended("i-2"), started("i-3", at=1))
    assert (backlog.state().interceptions, seconds(str(backlog.state().oldest))) == (2, 100.5)


def test_the_oldest_are_dropped_and_make_room(database: Path, backlog: Backlog) -> None:
    for number in range(100, 250):
        keep(database, started(f"i-{number}"), prompt(f"i-{number}", "x" * 10_000), ended(f"i-{number}"))
    keep(database, started("a-still-open"))
    before = backlog.size()
    assert backlog.drop_oldest() == 100
    assert backlog.size() < before - 500_000
    assert [one["id"] for one in _rows(database, INTERCEPTIONS)][:2] == ["a-still-open", "i-200"]
    assert backlog.drop_oldest() == 50
    assert backlog.drop_oldest() == 0


def test_free_pages_are_not_in_use(database: Path) -> None:
    with closing(connect(database)) as connection:
        empty = used(connection)
        keep(database, *(record for n in range(50) for record in (started(f"i-{n}"), prompt(f"i-{n}", "x" * 50_000))))
        assert used(connection) > empty + 2_000_000
        connection.execute("DELETE FROM user_prompts")
        assert used(connection) < empty + 200_000


def _columns(database: Path, table: str) -> list[object]:
    return [name for (name,) in select(database, "SELECT name FROM pragma_table_info(?) ORDER BY cid", (table,))]


def _rows(database: Path, table: str) -> list[dict[object, object]]:
    columns = _columns(database, table)
    found = select(database, f"SELECT * FROM {table} ORDER BY id")  # noqa: S608 - a test's
    return [dict(zip(columns, values, strict=True)) for values in found]
