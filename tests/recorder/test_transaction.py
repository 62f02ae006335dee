import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from sidecar.recorder.journal.connection import connect
from sidecar.recorder.journal.transaction import commit
from sidecar.recorder.rows import Row, Stored, row
from tests.recorder import journal_samples as samples

BEYOND = 2**63  # one more than 64 bits hold


@pytest.fixture
def connection(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(database, busy=0.01)) as connection:
        yield connection


def rows(*records: Stored) -> list[Row]:
    new_id = samples.numbered()
    return [row(record, new_id(), samples.WORKER) for record in records]


def test_everything_is_written_whatever_its_order(database: Path, connection: sqlite3.Connection) -> None:
    """An end that shares a transaction with its start must find the row."""
    records = (
        samples.thought(),
        samples.ended(),
        samples.tool(),
        samples.tokens(),
        samples.started(),
        samples.prompt(),
    )
    assert commit(connection, rows(*records)) == []
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]
    assert samples.table(database, "model_thoughts") == [samples.THOUGHT_ROW | {"id": "id-0001"}]
    assert samples.table(database, "tool_usages") == [samples.TOOL_ROW | {"id": "id-0003"}]
    assert samples.table(database, "token_usages") == [samples.TOKENS_ROW | {"id": "id-0004"}]
    assert samples.table(database, "user_prompts") == [samples.PROMPT_ROW | {"id": "id-0006"}]


@pytest.mark.parametrize("count", [2, 3, 20, 63, 100])
def test_rows_of_one_kind_keep_their_order(database: Path, connection: sqlite3.Connection, count: int) -> None:
    texts = [f"thought {number}" for number in range(count)]
    commit(connection, rows(*(samples.thought(text=text) for text in texts)))
    assert samples.select(database, "SELECT content FROM model_thoughts ORDER BY id") == [(text,) for text in texts]


def test_many_rows_take_few_calls(connection: sqlite3.Connection) -> None:
    """Each row that SQLite writes by itself is one more wait for the interpreter's lock."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    commit(connection, rows(*(samples.started(str(number)) for number in range(100))))
    inserts = [statement for statement in statements if statement.startswith("INSERT")]
    assert [statement.count("), (") + 1 for statement in inserts] == [32, 32, 32, 4]


def test_a_batch_is_one_transaction(connection: sqlite3.Connection) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    commit(connection, rows(samples.started("a"), samples.started("b"), samples.ended("a")))
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "INSERT", "UPDATE", "COMMIT"]


def test_a_single_row_needs_no_transaction_around_it(connection: sqlite3.Connection) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    commit(connection, rows(samples.started()))
    assert [statement.split()[0] for statement in statements] == ["INSERT"]


POISON = {
    "beyond 64 bits": samples.tokens("bad", BEYOND),
    "lone surrogate": samples.thought("bad", "\ud800"),
    "missing": replace(samples.thought("bad"), text=None),  # type: ignore[arg-type]
    "unknown type": replace(samples.thought("bad"), text=object()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", POISON)
def test_one_bad_value_costs_only_its_own_record(database: Path, connection: sqlite3.Connection, kind: str) -> None:
    bad = POISON[kind]
    before, after = samples.thought(text="before"), samples.thought(text="after")
    found = commit(connection, rows(samples.started(), before, bad, after, samples.ended()))
    assert found == [bad]
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]
    assert samples.select(database, "SELECT content FROM model_thoughts") == [("before",), ("after",)]
    assert samples.table(database, "token_usages") == []


def test_a_bad_value_alone_is_left_out_too(database: Path, connection: sqlite3.Connection) -> None:
    bad = samples.tokens(count=BEYOND)
    assert commit(connection, rows(bad)) == [bad]
    assert samples.table(database, "token_usages") == []


@pytest.mark.parametrize("records", [(samples.started(),), (samples.started(), samples.ended())])
def test_a_locked_file_is_an_error_that_leaves_nothing_behind(
    database: Path, connection: sqlite3.Connection, records: tuple[Stored, ...]
) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            commit(connection, rows(*records))
        assert not connection.in_transaction
    assert samples.table(database, "interceptions") == []
    assert commit(connection, rows(*records)) == []
    assert len(samples.table(database, "interceptions")) == 1


class Failing(sqlite3.Connection):
    """A disk that fails at the very end."""

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if sql == "COMMIT":
            msg = "disk I/O error"
            raise sqlite3.OperationalError(msg)
        return super().execute(sql, *parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize("poison", [(), (samples.tokens(count=BEYOND),)])
def test_a_commit_that_fails_is_rolled_back(database: Path, poison: tuple[Stored, ...]) -> None:
    """With a bad value in it or without: what was not committed must be tried again as a whole."""
    with closing(sqlite3.connect(database, isolation_level=None, factory=Failing)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            commit(connection, rows(samples.started(), samples.ended(), *poison))
        assert not connection.in_transaction
    assert samples.table(database, "interceptions") == []
