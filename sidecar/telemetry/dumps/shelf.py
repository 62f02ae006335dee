"""The folder of the dumps: nobody else's to read, and never more or older than it may be.

Several workers share it. Each writes at most `step` bytes before it makes room again, so that all together stay below
the bound; a file that has gone meanwhile stays gone.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sidecar.telemetry.dumps.names import is_dump

_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_MORE: Final = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARE = 16  # the part of the bound that may come between two tidyings
_FEWEST = 4096  # bytes in a step


class Shelf:
    """The folder. Its methods raise OSError where the disk does not do as told."""

    def __init__(self, root: Path, *, most: int, age: float, workers: int, now: Callable[[], float]) -> None:
        """`most` bytes in all files, none of them older than `age` seconds; `now` is in seconds since the epoch."""
        self._root = root
        self._age = age
        self._now = now
        self.step = max(_FEWEST, most // _SHARE // workers)
        self._target = max(0, most - self.step * workers)
        self._left = 0  # bytes that may still be written
        self.written = 0  # bytes, so far

    def begin(self, folders: tuple[str, str], name: str, data: bytes) -> Path:
        """Put a new file there."""
        path = self._root.joinpath(*folders, name)
        self._make(path.parent)
        try:
            self._write(path, _NEW, data[: self.step])
        except FileNotFoundError:  # somebody tidied up
            self._make(path.parent)
            self._write(path, _NEW, data[: self.step])
        self.append(path, data[self.step :])
        return path

    def append(self, path: Path, data: bytes) -> None:
        """Write at the end of a file, unless it has gone."""
        with suppress(FileNotFoundError):
            for at in range(0, len(data), self.step):
                self._write(path, _MORE, data[at : at + self.step])

    def tidy(self) -> None:
        """Delete what is too old, and the oldest of what is too much."""
        with self._alone():
            found = sorted(self._files())
            total = sum(size for _, size, _ in found)
            for changed, size, path in found:
                if total <= self._target and changed >= self._now() - self._age:
                    break
                with suppress(FileNotFoundError):
                    path.unlink()
                total -= size
                self._leave(path.parent)
        self._left = self.step

    def _write(self, path: Path, how: int, data: bytes) -> None:
        if len(data) > self._left:
            self.tidy()
        self._left -= len(data)
        length = len(data)
        descriptor = os.open(path, how, 0o600)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
        self.written += length

    def _make(self, folder: Path) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in (folder.parent, folder):
            each.mkdir(mode=0o700, exist_ok=True)

    def _leave(self, folder: Path) -> None:
        with suppress(OSError):  # not empty
            folder.rmdir()
            folder.parent.rmdir()

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for path in self._root.glob("*/*/*"):
            with suppress(FileNotFoundError):
                status = path.lstat()
                if is_dump(path.name):
                    yield status.st_mtime, status.st_size, path

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the others from deleting at the same time, which would be twice as much."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
