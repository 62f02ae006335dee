"""PostgreSQL as the store: a batch becomes one transaction, and a repeated one changes nothing.

    put ─▶ months that are missing ─▶ BEGIN; an INSERT for each table; UPDATE with the ends; COMMIT ─▶ ids left out

What PostgreSQL cannot hold (U+0000, a number beyond 64 bits) is found by halves, and its neighbours are stored.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from typing import Any, Final

import psycopg
from psycopg import errors

from sidecar.recorder.batches import TABLES, Batch
from sidecar.recorder.postgres.connection import conninfo, told
from sidecar.recorder.postgres.deadline import Deadline
from sidecar.recorder.postgres.migration import migrate
from sidecar.recorder.postgres.months import KEEPING, add, touched
from sidecar.recorder.postgres.statements import END, INSERT, MISSING, arrays
from sidecar.recorder.rows import Values
from sidecar.settings import Recorder

__all__ = ["PostgresStore", "migrate"]

PATIENCE: Final = 30.0  # seconds for one statement, which the server keeps
LIMIT: Final = 60.0  # seconds for a batch, which we keep
# A value's fault: trying again would change nothing. (What no type can read, too many digits, NULL where none may be,
# the same interception twice, a key longer than an index takes, a lone surrogate.)
_UNFIT: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    errors.CardinalityViolation,
    errors.ProgramLimitExceeded,
    ValueError,
)
_Work = tuple[str, Sequence[Values], int]  # a statement, its rows, where in a row the id is

# For this transaction alone, since a pooler may give the session to others. A server that acknowledges what it may
# still lose (synchronous_commit = off) must not do so with us: the journal forgets what was acknowledged.
_BEGIN: Final = """
SELECT set_config('statement_timeout', %s, true),
       CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END
"""


class PostgresStore:
    """`batches.Store`. Connects when it has something to put, and anew after any trouble."""

    def __init__(self, recorder: Recorder, *, patience: float = PATIENCE, limit: float = LIMIT) -> None:
        """`patience`: seconds for one statement; `limit`: seconds for a batch. Raises `BadSetting`."""
        self._recorder = recorder
        self._parameters = conninfo(recorder)
        self._patience = patience
        self._limit = limit
        self._connection: psycopg.Connection[Any] | None = None
        self._months: set[date] = set()  # that were there when we looked

    def put(self, batch: Batch) -> frozenset[str]:
        """Make the batch durable; return the ids of rows that PostgreSQL can never hold. Raises `StoreUnavailable`.

        Ends of interceptions that are not there are among them.
        """
        try:
            connection = self._connected()
            with Deadline(connection, self._limit):
                return self._stored(connection, batch) | _without_start(connection, batch)
        except (psycopg.Error, OSError) as error:
            self.close()
            raise told(self._recorder, error) from None

    def close(self) -> None:
        """Let go of the connection. Never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                connection.close()

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(**self._parameters, autocommit=True)
        return self._connection

    def _stored(self, connection: psycopg.Connection[Any], batch: Batch) -> frozenset[str]:
        work = [(INSERT[table], batch.rows[table], 0) for table in TABLES if batch.rows.get(table)]
        work += [(END, batch.ends, -1)] if batch.ends else []
        with suppress(*_UNFIT, errors.UndefinedTable):  # or of a month that is being dropped, or was since we looked
            self._prepare(connection, touched(batch))
            return self._together(connection, work)
        self._months.clear()
        with self._transaction(connection):
            connection.execute(KEEPING)
            add(connection.execute, touched(batch))
            return frozenset(left for sql, rows, key in work for left in _left_out(connection, sql, rows, key))

    def _together(self, connection: psycopg.Connection[Any], work: Sequence[_Work]) -> frozenset[str]:
        with self._transaction(connection):
            for sql, rows, _ in work:
                connection.execute(sql, arrays(rows))
        return frozenset()

    def _prepare(self, connection: psycopg.Connection[Any], wanted: frozenset[date]) -> None:
        if wanted <= self._months:
            return
        with self._transaction(connection):
            add(connection.execute, wanted)
        self._months |= wanted

    @contextmanager
    def _transaction(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        with connection.transaction():
            connection.execute(_BEGIN, [str(round(self._patience * 1000))])
            yield


def _without_start(connection: psycopg.Connection[Any], batch: Batch) -> frozenset[str]:
    if not batch.ends:
        return frozenset()
    return frozenset(found for (found,) in connection.execute(MISSING, arrays([end[-1:] for end in batch.ends])))


def _left_out(connection: psycopg.Connection[Any], sql: str, rows: Sequence[Values], key: int) -> Iterator[str]:
    try:
        with connection.transaction():  # a savepoint
            connection.execute(sql, arrays(rows))
    except _UNFIT:
        if len(rows) == 1:
            yield str(rows[0][key])
            return
        half = len(rows) // 2
        yield from _left_out(connection, sql, rows[:half], key)
        yield from _left_out(connection, sql, rows[half:], key)
