"""Whether the journal may grow: where records are forwarded, what waits for that has a bound."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sidecar.recorder.journal.connection import uri, used


class Room:
    """What a worker knows of its journal's size, as of when it last `look`ed. `most`: bytes that may be in use."""

    def __init__(self, database: Path, most: int) -> None:
        self._database = database
        self._most = most
        self.is_full = False

    def look(self) -> None:
        """Measure. Reads a file, so not on an event loop; of one that cannot be read it tells what it knew."""
        with suppress(sqlite3.Error), closing(sqlite3.connect(uri(self._database, "ro"), uri=True)) as connection:
            self.is_full = used(connection) > self._most
