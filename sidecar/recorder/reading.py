"""A store, opened for reading alone: nobody who writes waits for it, and nothing can be changed by mistake."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from sidecar.core.errors import BadSetting
from sidecar.recorder.journal.connection import check, unavailable, uri
from sidecar.settings import Recorder, Settings

PATIENCE = 300.0  # seconds that PostgreSQL works at one statement

Days = tuple[date | None, date | None]


def days(since: str | None, until: str | None) -> Days:
    """From when to when: days (`YYYY-MM-DD`), both included, None for no limit. Raises `BadSetting`."""
    first, last = day("since", since), day("until", until)
    if first and last and first > last:
        msg = f"until = {last}: expected a day not before since = {first}"
        raise BadSetting(msg)
    return first, last


def day(setting: str, text: str | None) -> date | None:
    """A day (`YYYY-MM-DD`), None for none. Raises `BadSetting`."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        msg = f"{setting} = {text!r}: expected a day, YYYY-MM-DD"
        raise BadSetting(msg) from None


@contextmanager
def store(settings: Settings, *, limit: float | None = None) -> Iterator[Engine]:
    """Where the records are in the end, if that is a database: each transaction is read-only and sees one state of it.

    `limit`: seconds that a connection to PostgreSQL may last, though that should stand still. Raises
    `JournalUnavailable` or `StoreUnavailable`, within too.
    """
    is_file = settings.recorder.kind == "sqlite"
    with journal(settings.database) if is_file else _postgresql(settings.recorder, limit) as engine:
        yield engine


@contextmanager
def journal(database: Path) -> Iterator[Engine]:
    """The file, read-only; each transaction sees one state of it. Raises `JournalUnavailable`, within too."""
    check(database)
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri(database, "ro"), uri=True, isolation_level=None),
        poolclass=NullPool,
    )
    # By itself the driver begins none before a SELECT.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    try:
        yield engine
    except DBAPIError as error:
        raise unavailable(database, error.orig) from error


@contextmanager
def _postgresql(recorder: Recorder, limit: float | None) -> Iterator[Engine]:
    from sidecar.recorder.postgres import connection as postgres  # noqa: PLC0415 - psycopg, which need not be there

    engine = postgres.engine(recorder, limit=limit).execution_options(
        isolation_level="REPEATABLE READ", postgresql_readonly=True
    )
    patience = f"SET LOCAL statement_timeout = {round(PATIENCE * 1000)}"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(patience))
    try:
        yield engine
    except DBAPIError as error:
        raise postgres.told(recorder, error) from None
