"""One file of a dump, as long as it may be."""

from pathlib import Path  # noqa: TC003 - as in the other modules

from sidecar.telemetry.dumps.bodies import note
from sidecar.telemetry.dumps.shelf import Shelf

_LAST_LINE = 256  # bytes that are kept for the line that it was cut


class Page:
    """A file that is made by its first text. `most`: bytes."""

    def __init__(self, shelf: Shelf, folders: tuple[str, str], name: str, most: int) -> None:
        self._shelf = shelf
        self._folders = folders
        self._name = name
        self._most = most
        self._left = most - _LAST_LINE
        self._path: Path | None = None

    def write(self, text: str) -> None:
        """Add to it; beyond what it may hold, a line says so. Raises OSError, once: what lacks a piece gets no more."""
        if self._left <= 0 or not text:
            return
        data = text.encode("utf-8", "replace")
        cut = data[: self._left]
        self._left -= len(data)
        if len(cut) < len(data):
            cut += (
                f"\n{note(f'cut here, at dump.max_file_bytes or a quarter of dump.max_bytes: {self._most}')}".encode()
            )
        try:
            self._put(cut)
        except OSError:
            self._left = 0
            raise

    def _put(self, data: bytes) -> None:
        if self._path is None:
            self._path = self._shelf.begin(self._folders, self._name, data)
        else:
            self._shelf.append(self._path, data)
