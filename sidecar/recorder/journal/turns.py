"""Who moves rows out of a journal takes turns: what a purge has deleted must not be on its way to the store meanwhile.

lock     <journal>.forwarding.lock      held by a forwarder from the reading of a batch to its deletion, by a purge
                                        while it deletes from the journal, by a probe while it asks and looks
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.recorder.journal.connection import unavailable

LOCK = "forwarding.lock"


@contextmanager
def turn(database: Path, *, waits: bool = True) -> Iterator[bool]:
    """Holds the turn; waits, without a bound, for whoever has it. Not to be nested. Raises `JournalUnavailable`.

    Where it is not to wait, it tells whether it has it.

    The file stays: one that is deleted and made anew could be held twice.
    """
    lock = database.parent / f"{database.name}.{LOCK}"
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unavailable(lock, error.strerror) from error
    try:
        yield _taken(descriptor, waits=waits)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, *, waits: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
