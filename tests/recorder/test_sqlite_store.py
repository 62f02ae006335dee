"""A batch in SQLite: durable, once, without what no table can hold."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings

from sidecar.recorder import sqlite_store
from sidecar.recorder.batches import INTERCEPTIONS, TABLES, Batch, StoreUnavailable
from sidecar.recorder.rows import Values
from sidecar.recorder.sqlite_store import SqliteStore
from tests.recorder.contract_samples import as_sets, batches, end, ended, opened, prompt, together, whole


@pytest.fixture
def store(database: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(database)
    yield store
    store.close()


def held(database: Path) -> dict[str, set[Values]]:
    with closing(sqlite3.connect(database)) as connection:
        rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}  # noqa: S608
    return as_sets(Batch(rows=rows))


def test_a_batch_is_stored(database: Path, store: SqliteStore) -> None:
    batch = together(whole("i-1"), whole("i-2"), Batch(rows={INTERCEPTIONS: [opened("i-3")]}))
    assert store.put(batch) == set()
    assert held(database) == as_sets(batch)


def test_the_same_batch_again_changes_nothing(database: Path, store: SqliteStore) -> None:
    """Whoever did not hear the answer sends it again."""
    store.put(whole())
    store.put(whole())
    assert held(database) == as_sets(whole())


def test_what_is_there_stays_as_it_is(database: Path, store: SqliteStore) -> None:
    store.put(Batch(rows={INTERCEPTIONS: [ended()], "user_prompts": [prompt()]}))
    later = Batch(rows={INTERCEPTIONS: [ended(status="failed"), opened()], "user_prompts": [prompt(text="other")]})
    assert store.put(later) == set()
    assert held(database) == {INTERCEPTIONS: {ended()}, "user_prompts": {prompt()}}


def test_an_open_interception_is_ended_by_a_row_that_has_its_end(database: Path, store: SqliteStore) -> None:
    """What it began with stays, the end is the later row's."""
    store.put(Batch(rows={INTERCEPTIONS: [opened()]}))
    store.put(Batch(rows={INTERCEPTIONS: [ended(model="other")]}))
    assert held(database) == {INTERCEPTIONS: {ended()}}


def test_an_end_ends_what_is_open_and_nothing_else(database: Path, store: SqliteStore) -> None:
    rows = [opened("i-1"), opened("i-2"), ended("i-3", status="failed")]
    store.put(Batch(rows={INTERCEPTIONS: rows}))
    assert store.put(Batch(rows={}, ends=[end("i-1"), end("i-3")])) == set()
    assert held(database) == {INTERCEPTIONS: {ended("i-1"), *rows[1:]}}


def test_an_end_may_come_with_its_start(database: Path, store: SqliteStore) -> None:
    assert store.put(Batch(rows={INTERCEPTIONS: [opened()]}, ends=[end()])) == set()
    assert held(database) == {INTERCEPTIONS: {ended()}}


def test_the_end_of_what_is_not_there_is_unfit(database: Path, store: SqliteStore) -> None:
    """It would be acknowledged, and be nowhere."""
    assert store.put(Batch(rows={INTERCEPTIONS: [opened()]}, ends=[end("i-9"), end()])) == {"i-9"}
    assert held(database) == {INTERCEPTIONS: {ended()}}


@pytest.mark.parametrize(
    "row",
    [
        prompt("p-2")[:-1],
        (None, *prompt()[1:]),
        (*prompt("p-2")[:3], None, *prompt()[4:]),
        (*prompt("p-2")[:3], 2**63, *prompt()[4:]),
        prompt("p-2", text="\ud800"),
    ],
)
def test_a_row_that_no_table_can_hold_is_left_out_alone(database: Path, store: SqliteStore, row: Values) -> None:
    batch = together(whole(), Batch(rows={"user_prompts": [row]}, ends=[end()]))
    assert store.put(batch) == {str(row[0])}
    assert held(database) == as_sets(whole())


@settings(max_examples=40)  # each draws some hundred values
@given(batch=batches())
def test_whatever_the_contract_tells_fits(fresh: Path, tmp_path_factory: pytest.TempPathFactory, batch: Batch) -> None:
    database = tmp_path_factory.mktemp("store") / "store.db"
    database.write_bytes(fresh.read_bytes())
    with closing(SqliteStore(database)) as store:
        assert store.put(batch) == {str(row[-1]) for row in batch.ends}
    assert held(database) == as_sets(Batch(rows=batch.rows))


def test_it_is_on_the_disk_when_it_is_acknowledged(store: SqliteStore) -> None:
    store.put(whole())
    assert store._connection is not None  # noqa: SLF001 - what only a power cut would show
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # noqa: SLF001 - FULL


def test_a_locked_file_is_unavailable_and_then_there_again(
    database: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "PATIENCE", 0.01)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=f"store {database}: SQLITE_BUSY"):
            store.put(whole())
        other.execute("ROLLBACK")
    assert store.put(whole()) == set()
    assert held(database) == as_sets(whole())


def test_a_file_that_is_gone_is_unavailable_and_not_made_anew(database: Path, store: SqliteStore) -> None:
    database.unlink()
    with pytest.raises(StoreUnavailable, match="SQLITE_CANTOPEN"):
        store.put(whole())
    assert not database.exists()


def test_errors_quote_no_row(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(b"not a database, but long enough to be looked at as if it were one" * 20)
    with closing(SqliteStore(tmp_path / "other.db")) as store, pytest.raises(StoreUnavailable) as raised:
        store.put(whole())
    assert str(raised.value) == f"store {tmp_path}/other.db: SQLITE_NOTADB"
    assert raised.value.__cause__ is None


def test_an_empty_batch_asks_whether_the_file_can_be_written(database: Path, store: SqliteStore) -> None:
    assert store.put(Batch(rows={})) == set()
    store.close()
    database.unlink()
    with pytest.raises(StoreUnavailable):
        store.put(Batch(rows={}))
