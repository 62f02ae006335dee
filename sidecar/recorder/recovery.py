"""What a crash left open is ended by whoever replaces the worker that owned it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sidecar.core.records import ErrorType
from sidecar.recorder.connection import check, connect, unavailable
from sidecar.recorder.rows import PROMPT, moment

MESSAGE = "the worker was lost before the interception ended"
PATIENCE = 10.0  # seconds that a start waits for another process's transaction

# Not LIKE: a worker's name may hold `_` and `%`. The range is for the index of what is open; `;` follows `:`.
OWNED = (
    "ended_at IS NULL AND worker >= :owner AND worker < :owner || ';' "
    "AND (worker = :owner OR substr(worker, length(:owner) + 1, 1) = ':')"
)
# S608: the condition above; the values are bound.
ANY = f"SELECT 1 FROM interceptions WHERE {OWNED} LIMIT 1"  # noqa: S608
FIND = f"SELECT id, open_prompt FROM interceptions WHERE {OWNED} AND open_prompt IS NOT NULL"  # noqa: S608
END = (
    "UPDATE interceptions SET ended_at = :at, status = 'failed', error_type = :type, error_message = :message, "  # noqa: S608
    f"open_prompt = NULL WHERE {OWNED}"
)


def end_lost(database: Path, owner: str, *, at: float, new_id: Callable[[], str], patience: float = PATIENCE) -> int:
    """Ends the open interceptions of `owner` and of its workers (`owner:…`) as lost; returns how many there were.

    Their prompts are kept, without a response id. `at`: seconds since the epoch. All or nothing; nobody else's rows
    are touched. None of these workers may be running. `patience`: seconds to wait for another process's transaction.
    Raises `JournalUnavailable`.
    """
    check(database, busy=patience)
    try:
        with closing(connect(database, busy=patience)) as connection:
            if not connection.execute(ANY, {"owner": owner}).fetchone():  # readers wait for nobody
                return 0
            with _transaction(connection):
                return _end(connection, owner, moment(at), new_id)
    except sqlite3.Error as error:
        raise unavailable(database, error) from error


def _end(connection: sqlite3.Connection, owner: str, at: str, new_id: Callable[[], str]) -> int:
    prompts = connection.execute(FIND, {"owner": owner}).fetchall()
    connection.executemany(PROMPT.sql, [(new_id(), interception, "", text, at) for interception, text in prompts])
    values = {"owner": owner, "at": at, "type": ErrorType.LOST.value, "message": MESSAGE}
    return connection.execute(END, values).rowcount


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # One that fails is rolled back by closing the connection.
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")
