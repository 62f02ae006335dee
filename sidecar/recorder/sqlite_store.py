"""Records kept in one SQLite file, the journal's own schema: what the Recorder service stores into on one machine."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sidecar.recorder.batches import CHILDREN, COLUMNS, END_COLUMNS, INTERCEPTIONS, TABLES, Batch, StoreUnavailable
from sidecar.recorder.journal.connection import connect
from sidecar.recorder.journal.transaction import TROUBLE, UNFIT, fits
from sidecar.recorder.rows import Values

PATIENCE: Final = 5.0  # seconds that a batch waits for another process's transaction

_ENDING: Final = (*END_COLUMNS[:-1], "open_prompt")
# S608: names from the schema alone; the values are bound.
_INSERT: Final = {
    table: f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) ON CONFLICT (id) DO "  # noqa: S608
    for table, columns in COLUMNS.items()
}
_PUT: Final = {table: _INSERT[table] + "NOTHING" for table in CHILDREN} | {
    INTERCEPTIONS: _INSERT[INTERCEPTIONS]
    + f"UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in _ENDING)} "
    "WHERE interceptions.ended_at IS NULL AND excluded.ended_at IS NOT NULL"
}
_END: Final = (
    f"UPDATE interceptions SET {', '.join(f'{column} = ?' for column in END_COLUMNS[:-1])}, open_prompt = NULL "  # noqa: S608
    "WHERE id = ? AND ended_at IS NULL"
)
_MISSING: Final = "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT id FROM interceptions)"

Statement = tuple[str, Sequence[Values]]


class SqliteStore:
    """A `Store` in a file that has been migrated. Opened at the first batch, and anew after trouble."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None

    def put(self, batch: Batch) -> frozenset[str]:
        """As `Store.put`, back once it is on the disk; ends of interceptions that are not there are unfit too."""
        try:
            connection = self._connection = self._connection or connect(self._database, busy=PATIENCE)
            return _commit(connection, batch)
        except TROUBLE as error:
            self.close()
            # SQLite's own word for it, or the class: texts of errors may quote values.
            msg = f"store {self._database}: {getattr(error, 'sqlite_errorname', type(error).__name__)}"
            raise StoreUnavailable(msg) from None

    def close(self) -> None:
        """As `Store.close`."""
        if self._connection is not None:
            with suppress(*TROUBLE):
                self._connection.close()
            self._connection = None


def _commit(connection: sqlite3.Connection, batch: Batch) -> frozenset[str]:
    """One transaction; a row that no table can hold is left out, its neighbours are not. Raises `TROUBLE`."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for sql, rows in _statements(batch):
            connection.executemany(sql, rows)
        unfit: set[str] = set()
    except UNFIT:
        connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
        unfit = set(_one_by_one(connection, batch))
    unfit |= _without_start(connection, batch)
    connection.execute("COMMIT")
    return frozenset(unfit)


def _statements(batch: Batch) -> Iterator[Statement]:
    yield from ((_PUT[table], batch.rows[table]) for table in TABLES if batch.rows.get(table))
    if batch.ends:
        yield _END, batch.ends


def _one_by_one(connection: sqlite3.Connection, batch: Batch) -> Iterator[str]:
    for sql, rows in _statements(batch):
        place = -1 if sql == _END else 0
        yield from (str(row[place]) for row in rows if not fits(connection, sql, row))


def _without_start(connection: sqlite3.Connection, batch: Batch) -> set[str]:
    if not batch.ends:
        return set()
    ended = json.dumps([str(end[-1]) for end in batch.ends])
    return {str(missing) for (missing,) in connection.execute(_MISSING, (ended,))}
