"""What a crash left open is ended by whoever replaces the worker that owned it, or by the next that starts."""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sidecar.core.records import ErrorType
from sidecar.recorder.connection import check, connect, unavailable
from sidecar.recorder.owners import is_dead
from sidecar.recorder.rows import PROMPT, moment

MESSAGE = "the worker was lost before the interception ended"
PATIENCE = 10.0  # seconds that a start waits for another process's transaction

OPEN = "SELECT DISTINCT worker FROM interceptions WHERE ended_at IS NULL"
THEIRS = "ended_at IS NULL AND worker IN (SELECT value FROM json_each(:workers))"
# S608: the condition above; the values are bound.
ANY = f"SELECT 1 FROM interceptions WHERE {THEIRS} LIMIT 1"  # noqa: S608
FIND = f"SELECT id, open_prompt FROM interceptions WHERE {THEIRS} AND open_prompt IS NOT NULL"  # noqa: S608
END = (
    "UPDATE interceptions SET ended_at = :at, status = 'failed', error_type = :type, error_message = :message, "  # noqa: S608
    f"open_prompt = NULL WHERE {THEIRS}"
)


def abandoned(database: Path) -> list[str]:
    """The workers that left interceptions open and of whose owner nobody is left. Raises `JournalUnavailable`."""
    check(database)
    try:
        with closing(connect(database)) as connection:
            return [str(worker) for (worker,) in connection.execute(OPEN) if is_dead(database, worker)]
    except sqlite3.Error as error:
        raise unavailable(database, error) from error


def end_lost(
    database: Path, workers: Collection[str], *, at: float, new_id: Callable[[], str], patience: float = PATIENCE
) -> int:
    """Ends the open interceptions of these workers as lost; returns how many there were.

    Their prompts are kept, without a response id. `at`: seconds since the epoch. All or nothing; nobody else's rows
    are touched. None of these workers may be running. `patience`: seconds to wait for another process's transaction.
    Raises `JournalUnavailable`.
    """
    check(database, busy=patience)
    values = {"workers": json.dumps(list(workers))}
    try:
        with closing(connect(database, busy=patience)) as connection:
            if not connection.execute(ANY, values).fetchone():  # readers wait for nobody
                return 0
            with _transaction(connection):
                return _end(connection, values, moment(at), new_id)
    except sqlite3.Error as error:
        raise unavailable(database, error) from error


def _end(connection: sqlite3.Connection, values: dict[str, str], at: str, new_id: Callable[[], str]) -> int:
    prompts = connection.execute(FIND, values).fetchall()
    connection.executemany(PROMPT.sql, [(new_id(), interception, "", text, at) for interception, text in prompts])
    told = {"at": at, "type": ErrorType.LOST.value, "message": MESSAGE}
    return connection.execute(END, values | told).rowcount


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # One that fails is rolled back by closing the connection.
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")
