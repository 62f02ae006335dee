"""How the journal's file is opened by those who must start or run fast: the standard library's driver, nothing else."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Literal

from sidecar.core.errors import JournalUnavailable

REVISION = "0002"  # the schema that this version reads and writes: the newest of migrations/versions
PATIENCE = 5.0  # seconds that a start waits for who keeps everybody out
BUSY = 0.2  # seconds that SQLite waits for a lock by itself, before the writer hears of it
WAL_LIMIT = 67_108_864  # bytes that the -wal file keeps after a checkpoint, however far a slow reader let it grow


def uri(database: Path, mode: str) -> str:
    """SQLite's name for the file; `mode` is `ro` or `rw`, so that opening never creates an empty one."""
    return f"{database.absolute().as_uri()}?mode={mode}"


def unavailable(database: Path, reason: object) -> JournalUnavailable:
    """One line for the operator: which file, and why not."""
    return JournalUnavailable(f"journal {database}: {reason}")


def connect(
    database: Path, *, busy: float = BUSY, synchronous: Literal["FULL", "NORMAL"] = "FULL"
) -> sqlite3.Connection:
    """A connection for writing: no implicit transactions, a `FULL` commit returns once it is on the disk.

    May be handed from one thread to another, but not shared. Raises `sqlite3.Error`.
    """
    connection = sqlite3.connect(
        uri(database, "rw"), uri=True, timeout=busy, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        # What is deleted is overwritten, by whomever: SQLite's own default depends on who built it (Debian: ON).
        connection.execute("PRAGMA secure_delete = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def check(database: Path, *, busy: float = PATIENCE) -> None:
    """Raises `JournalUnavailable` unless the file is a journal with the schema that we know.

    `busy`: seconds to wait where somebody keeps even readers out.
    """
    try:
        is_regular = stat.S_ISREG(database.stat().st_mode)
    except FileNotFoundError:
        raise unavailable(database, "there is no such file") from None
    except OSError as error:  # a folder that we may not enter
        raise unavailable(database, error.strerror) from None
    if not is_regular:
        raise unavailable(database, "it is not a regular file")
    try:
        with closing(sqlite3.connect(uri(database, "ro"), uri=True, timeout=busy)) as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise unavailable(database, _reason(error)) from error
    if found is not None and found[0] > REVISION:
        raise unavailable(database, f"its schema {found[0]} is newer than this version of the sidecar")
    if found is None or found[0] != REVISION:
        raise unavailable(database, f"its schema is not {REVISION}; start this version of the sidecar on it first")


def used(connection: sqlite3.Connection) -> int:
    """Bytes of the database that are in use: free pages are used again before the file grows."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _reason(error: sqlite3.DatabaseError) -> str:
    return "not a journal of ours" if "no such table" in str(error) else str(error)
