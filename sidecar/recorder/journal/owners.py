"""Whose the interceptions are that are still open, and whether anybody is left who will end them.

    worker   <host>:<listen>:<owner>:<index>
    lock     <journal>.<owner>.lock             held by the parent and, by the same descriptor, by its workers

An owner is a parent with its workers, for as long as one of them lives. Its name is random, so that it is nobody
else's, wherever the journal is taken: to another host, another address, another container.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sidecar.recorder.journal.connection import unavailable
from sidecar.recorder.journal.turns import LOCK


@contextmanager
def owning(database: Path, owner: str) -> Iterator[int]:
    """Holds the lock of `owner`, a name that nobody has had; yields its descriptor. Removes those that nobody holds.

    Raises `JournalUnavailable`.
    """
    lock = _lock(database, owner)
    try:
        _sweep(database)
        descriptor = _made(lock)
    except OSError as error:
        raise unavailable(lock, error.strerror) from error
    try:
        yield descriptor
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def is_dead(database: Path, worker: str) -> bool:
    """Whether nobody is left of the owner of `worker`. A name of another form is nobody's."""
    return not _lock(database, worker.split(":")[-2:][0]).exists()


def _lock(database: Path, owner: str) -> Path:
    return database.parent / f"{database.name}.{owner}.lock"


def _made(lock: Path) -> int:
    # It is locked before it has its name: nobody finds it free.
    unnamed = lock.with_suffix(".new")
    descriptor = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unnamed.rename(lock)
    return descriptor


def _sweep(database: Path) -> None:
    for lock in database.parent.iterdir():
        if lock.name.startswith(f"{database.name}.") and lock.suffix == ".lock" and not lock.name.endswith(LOCK):
            with suppress(OSError), lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.unlink()
