"""What a crash left open is ended by whoever replaces the worker that owned it, or by the next that starts."""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sidecar.core.records import Ended, ErrorType, Failure, Prompt
from sidecar.recorder.journal.connection import check, connect, unavailable
from sidecar.recorder.journal.owners import is_dead
from sidecar.recorder.rows import PROMPT, moment

Said = Prompt | Ended
LOST = Failure(type=ErrorType.LOST, message="the worker was lost before the interception ended")
PATIENCE = 10.0  # seconds that a start waits for another process's transaction

OPEN = "SELECT DISTINCT worker FROM interceptions WHERE ended_at IS NULL"
THEIRS = "ended_at IS NULL AND worker IN (SELECT value FROM json_each(:workers))"
# S608: the condition above; the values are bound.
ANY = f"SELECT 1 FROM interceptions WHERE {THEIRS} LIMIT 1"  # noqa: S608
FIND = f"SELECT id, open_prompt FROM interceptions WHERE {THEIRS}"  # noqa: S608
END = (
    # The clock may have been set back since they started.
    "UPDATE interceptions SET ended_at = max(:at, started_at), status = 'failed', error_type = :type, "  # noqa: S608
    f"error_message = :message, open_prompt = NULL WHERE {THEIRS}"
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
) -> tuple[Said, ...]:
    """Ends the open interceptions of these workers as lost; returns the records that say so, each one's end last.

    Their prompts are kept, without a response id, as the gate let them when they began. `at`: seconds since the epoch.
    All or nothing; nobody else's rows are touched. None of these workers may be running. `patience`: seconds to wait
    for another process's transaction.
    Raises `JournalUnavailable`.
    """
    check(database, busy=patience)
    values = {"workers": json.dumps(list(workers))}
    try:
        with closing(connect(database, busy=patience)) as connection:
            if not connection.execute(ANY, values).fetchone():  # readers wait for nobody
                return ()
            with _transaction(connection):
                return _end(connection, values, at, new_id)
    except sqlite3.Error as error:
        raise unavailable(database, error) from error


def _end(
    connection: sqlite3.Connection, values: dict[str, str], at: float, new_id: Callable[[], str]
) -> tuple[Said, ...]:
    found = connection.execute(FIND, values).fetchall()
    said = tuple(record for interception, prompt in found for record in _lost(interception, prompt, at))
    prompts = (
        (new_id(), one.interception, one.msg_id, one.text, moment(at)) for one in said if isinstance(one, Prompt)
    )
    connection.executemany(PROMPT.sql, prompts)
    connection.execute(END, values | {"at": moment(at), "type": LOST.type.value, "message": LOST.message})
    return said


def _lost(interception: str, prompt: str | None, at: float) -> Iterator[Said]:
    if prompt is not None:
        yield Prompt(interception=interception, at=at, msg_id="", text=prompt)
    yield Ended(interception=interception, at=at, failure=LOST, http_status=None, provider_request_id=None)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # One that fails is rolled back by closing the connection.
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")
