"""What of the journal has not been forwarded: all of it, since what has been is deleted.

An interception goes on as a whole once it has ended: its row and everything that belongs to it, which is committed with
its end or before. One that stays open for long is shown early, and goes again when it has ended.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from sidecar.recorder.batches import CHILDREN, COLUMNS, INTERCEPTIONS, TABLES, Batch
from sidecar.recorder.journal.connection import connect, used
from sidecar.recorder.rows import Values, moment

AT_ONCE: Final = 500  # interceptions in a batch
BYTES: Final = 8_388_608  # of text in a batch, after which no more is added
_STEP = 16  # interceptions whose rows are fetched together: a prompt may have a megabyte
_FORGOTTEN_AT_ONCE = 100  # interceptions in one transaction: writers wait for it
_BUSY = 5.0  # seconds that a deletion waits for its turn

_THESE = "IN (SELECT value FROM json_each(?))"
# S608: names from the schema alone; the values are bound.
_INTERCEPTIONS = f"SELECT {', '.join(COLUMNS[INTERCEPTIONS])} FROM interceptions WHERE NOT id {_THESE}"  # noqa: S608
_ENDED = f"{_INTERCEPTIONS} AND ended_at IS NOT NULL ORDER BY id LIMIT ?"
_OPEN = f"{_INTERCEPTIONS} AND ended_at IS NULL AND started_at < ? LIMIT ?"
_STILL_OPEN = f"SELECT id FROM interceptions WHERE ended_at IS NULL AND id {_THESE}"  # noqa: S608
_CHILDREN = {
    table: f"SELECT {', '.join(COLUMNS[table])} FROM {table} WHERE interception_id {_THESE}"  # noqa: S608
    for table in CHILDREN
}
_FORGET = (
    *(f"DELETE FROM {table} WHERE interception_id {_THESE}" for table in CHILDREN),  # noqa: S608
    f"DELETE FROM interceptions WHERE id {_THESE}",  # noqa: S608
)
_STATE = "SELECT count(*), min(started_at) FROM interceptions WHERE ended_at IS NOT NULL"
_OLDEST = "SELECT id FROM interceptions WHERE ended_at IS NOT NULL ORDER BY id LIMIT ?"


class State(NamedTuple):
    """How much there is: ended interceptions, and when the oldest of them started (UTC, as the tables say it)."""

    interceptions: int
    oldest: str | None


class Backlog:
    """The journal's file as its forwarder sees it, one thread at a time. All of it may raise `sqlite3.Error`."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._connection = _opened(database)

    def ended(self, without: Collection[str] = ()) -> Batch:
        """The oldest interceptions that have ended, a batch at most, those with ids in `without` left out."""
        found = self._connection.execute(_ENDED, (_ids(without), AT_ONCE)).fetchall()
        rows: dict[str, list[Values]] = {table: [] for table in TABLES}
        size = 0
        for start in range(0, len(found), _STEP):
            some = found[start : start + _STEP]
            rows[INTERCEPTIONS] += some
            for table, children in self._children([str(row[0]) for row in some]):
                rows[table] += children
                size += sum(len(value) for row in children for value in row if isinstance(value, str))
            if size >= BYTES:
                break
        return Batch(rows=rows)

    def opened(self, before: float, without: Collection[str] = ()) -> Batch:
        """Interceptions that are open and started before then (seconds since the epoch), a batch at most."""
        found = self._connection.execute(_OPEN, (_ids(without), moment(before), AT_ONCE)).fetchall()
        return Batch(rows={INTERCEPTIONS: found})

    def still_open(self, ids: Collection[str]) -> frozenset[str]:
        """Which of these interceptions are open."""
        return frozenset(str(found) for (found,) in self._connection.execute(_STILL_OPEN, (_ids(ids),)))

    def forget(self, ids: Sequence[str]) -> None:
        """Delete these interceptions, with everything that belongs to them."""
        for start in range(0, len(ids), _FORGOTTEN_AT_ONCE):
            these = _ids(ids[start : start + _FORGOTTEN_AT_ONCE])
            with self._transaction():
                for statement in _FORGET:
                    self._connection.execute(statement, (these,))

    def drop_oldest(self) -> int:
        """Delete some of the oldest that have ended, forwarded or not; returns how many there were."""
        oldest = [str(found) for (found,) in self._connection.execute(_OLDEST, (_FORGOTTEN_AT_ONCE,))]
        self.forget(oldest)
        return len(oldest)

    def state(self) -> State:
        """How much there is."""
        return State(*self._connection.execute(_STATE).fetchone())

    def size(self) -> int:
        """Bytes of the journal's file that are in use."""
        return used(self._connection)

    def renew(self) -> None:
        """Open the file anew: a connection in trouble may remember what is true no longer.

        The old one goes first: what it found to be read-only, SQLite takes for read-only in all of the process.
        """
        self.close()
        self._connection = _opened(self._database)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _children(self, ids: Sequence[str]) -> Iterator[tuple[str, list[Values]]]:
        these = _ids(ids)
        for table, statement in _CHILDREN.items():
            yield table, self._connection.execute(statement, (these,)).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _opened(database: Path) -> sqlite3.Connection:
    # What is deleted here is stored elsewhere: after a power cut it may be back, and goes once more.
    return connect(database, busy=_BUSY, synchronous="NORMAL")


def _ids(ids: Collection[str]) -> str:
    return json.dumps(list(ids))
