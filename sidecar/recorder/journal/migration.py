"""The journal's file, made and brought to the newest schema.

A start needs it once, a worker never: Alembic takes its time, and 22 MiB. So a process of its own does it for a start:
python -m sidecar.recorder.journal.migration, with the pickled path on standard input; what is wrong it prints.
"""

import fcntl
import os
import pickle
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, NullPool, create_engine, inspect
from sqlalchemy.exc import DBAPIError

from sidecar.core.errors import JournalUnavailable
from sidecar.recorder import revisions
from sidecar.recorder.journal.connection import connect, unavailable
from sidecar.recorder.schema import metadata

PATIENCE = 10.0  # seconds that a start waits for another process's transaction
PRIVATE = 0o600


def migrate(database: Path, *, patience: float = PATIENCE) -> None:
    """Afterwards the file is there, the owner's alone, in WAL mode, with the newest schema. Several may try at once.

    A missing directory is made, the owner's alone. `patience`: seconds to wait for a locked database. Raises
    `JournalUnavailable`, and then no table was changed.
    """
    try:
        _make(database)
        with _alone(database.parent), _connected(database, patience) as connection:
            _write_ahead(connection, database)
            _upgrade(connection, database)
            _look_at_the_ends(connection)
    except DBAPIError as error:
        raise unavailable(database, error.orig) from error
    except sqlite3.Error as error:
        raise unavailable(database, error) from error
    except OSError as error:
        raise unavailable(database, error.strerror) from error


def _make(database: Path) -> None:
    for directory in reversed(database.absolute().parents):
        if not directory.exists():
            directory.mkdir(mode=0o700, exist_ok=True)
    try:
        # Never opened like this when it exists: closing the descriptor would release SQLite's locks in this process.
        descriptor = os.open(database, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, PRIVATE)
    except FileExistsError:
        _close_to_others(database)
    else:
        os.fchmod(descriptor, PRIVATE)  # the umask may have taken from it
        os.close(descriptor)


def _close_to_others(database: Path) -> None:
    if not database.is_file():
        raise unavailable(database, "it is not a regular file")
    if not os.access(database, os.R_OK | os.W_OK):
        raise unavailable(database, "it cannot be read and written")
    for path in (database, Path(f"{database}-wal"), Path(f"{database}-shm")):
        if path.exists() and path.stat().st_mode & 0o077:
            path.chmod(PRIVATE)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    # SQLite's own lock does not cover the change to WAL. Waiting has no bound of its own: who holds the lock has one.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _connected(database: Path, patience: float) -> Iterator[Connection]:
    with closing(connect(database, busy=patience)) as raw:
        engine = create_engine("sqlite://", creator=lambda: raw, poolclass=NullPool)
        with engine.connect() as connection:
            yield connection


def _write_ahead(connection: Connection, database: Path) -> None:
    mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar_one()
    if mode != "wal":
        raise unavailable(database, f"its file system offers journal mode {mode}, not WAL")


def _upgrade(connection: Connection, database: Path) -> None:
    current = revisions.current(connection)
    if current == revisions.newest():
        return
    _known(connection, current, database)
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    revisions.upgrade(connection)
    connection.commit()


def _look_at_the_ends(connection: Connection) -> None:
    """Have a damaged file fail now, not at the first record: what is read is where new rows go, since ids grow.

    All of it would take long: a file may hold years. What is still open has a small index, which every start reads.
    """
    for table in metadata.sorted_tables:
        whole = [index for index in table.indexes if index.dialect_options["sqlite"]["where"] is None]
        for column in ("id", *(column.name for index in whole for column in index.columns)):
            connection.exec_driver_sql(f"SELECT * FROM {table.name} ORDER BY {column} DESC LIMIT 1").all()  # noqa: S608


def _known(connection: Connection, current: str | None, database: Path) -> None:
    if current is None and inspect(connection).get_table_names():
        raise unavailable(database, "it is another program's database")
    if current is not None and not revisions.is_known(current):
        raise unavailable(database, f"its schema {current} is newer than this version of the sidecar")


if __name__ == "__main__":
    try:
        migrate(pickle.load(sys.stdin.buffer))  # noqa: S301 - from our own parent, through a pipe
    except JournalUnavailable as error:
        sys.stdout.write(str(error))
        sys.exit(1)
