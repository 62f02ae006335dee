"""The journal's file under one writer's hand, which does not let go of a record because the disk is in trouble."""

import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from sidecar.recorder.journal.connection import connect
from sidecar.recorder.journal.transaction import TROUBLE, commit
from sidecar.recorder.journal.watch import Watch
from sidecar.recorder.rows import Row, Stored

log = structlog.get_logger()

# Seconds between two tries: a lock is mostly gone at once, and who waits for a start waits two seconds at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5


class GaveUp(Exception):
    """The writer was told to stop while the disk was in trouble."""


class FileGone(sqlite3.OperationalError):
    """At the journal's place is no file, or another one: what is written to ours is lost when we let go of it.

    Another one is for those who start anew. Beside it lies our write-ahead log still, which SQLite would apply to it.
    """


class Writer:
    """Used by one thread at a time."""

    def __init__(self, database: Path, watch: Watch) -> None:
        """Raises `sqlite3.Error` when the file cannot be opened."""
        self._database = database
        self._connection: sqlite3.Connection | None = None  # in trouble
        self._file: os.stat_result | None = None
        self._opened()
        self._stalled = False
        self._watch = watch

    def keep(self, rows: Sequence[Row], stop: threading.Event) -> list[Stored]:
        """Writes the rows durably, however long it takes; returns the records that no database could hold.

        Raises `GaveUp` when `stop` is set while they cannot be written.
        """
        pause, begun = FIRST_PAUSE, time.monotonic()
        while True:
            try:
                rejected = commit(self._opened(), rows)
            except TROUBLE as error:
                self._trouble(error, len(rows))
                if stop.wait(pause):
                    raise GaveUp from error
                self._mend(error)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._watch.committed(time.monotonic() - begun)
                self._over()
                return rejected

    def close(self) -> None:
        """As the last one on this file, also brings the write-ahead log into it."""
        if self._connection is not None:
            with suppress(*TROUBLE):
                self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        is_new = self._connection is None
        connection = self._connection = self._connection or connect(self._database)
        if not self._is_in_its_place():
            if is_new:
                self.close()
            raise FileGone
        return connection

    def _is_in_its_place(self) -> bool:
        try:
            found = self._database.stat()
        except OSError:
            return False
        self._file = self._file or found
        return os.path.samestat(self._file, found)

    def _trouble(self, error: BaseException, rows: int) -> None:
        if not self._stalled:
            self._stalled = True
            self._watch.stalled()
            log.warning("journal stalled, records are kept and tried again", reason=_name(error), records=rows)

    def _over(self) -> None:
        if self._stalled:
            self._stalled = False
            log.warning("journal writes again, nothing was lost")

    def _mend(self, error: BaseException) -> None:
        """After anything worse than a lock a fresh connection: the old one may remember what is true no longer.

        It goes first: what it found to be read-only, SQLite takes for read-only in all connections of the process.
        But where the file is gone it stays: it alone knows ours.
        """
        if _name(error) not in {"SQLITE_BUSY", FileGone.__name__}:
            self.close()


def _name(error: BaseException) -> str:
    # SQLite's own word for it, or the class: texts of errors may quote values.
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
