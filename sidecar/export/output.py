"""Where an export goes: standard output, or a file that has its name once it is whole."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from sidecar.core.errors import BadSetting, SidecarError


class OutputFailed(SidecarError):
    """The machine's fault: what is exported cannot be written where it should be."""


@contextmanager
def output(path: Path | None, *, force: bool) -> Iterator[IO[bytes]]:
    """What to write to; None: standard output.

    The file gets its name when the block ends well; until then, and after a failure, whatever had that name is as it
    was. It is readable by its owner alone. Raises `BadSetting` if the name is taken and not `force`, or is no file's,
    and `OutputFailed`, within too; for standard output also `BrokenPipeError`.
    """
    try:
        if path is None:
            yield (standard := _standard())
            standard.flush()
        else:
            _refuse(path, force=force)
            with _beside(path) as file:
                yield file
                _name(file, path, force=force)
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"export to {path or 'standard output'}: {error.strerror or error}"
        raise OutputFailed(msg) from error


def _standard() -> IO[bytes]:
    if sys.stdout is None:  # it was closed
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdout.buffer


@contextmanager
def _beside(path: Path) -> Iterator[IO[bytes]]:
    """A file of mode 0600 that is gone in the end if it still has its own name."""
    file = NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False)  # noqa: SIM115 - it may outlive the block, under another name
    try:
        with file:
            yield file.file
    finally:
        Path(file.name).unlink(missing_ok=True)


def _name(file: IO[bytes], path: Path, *, force: bool) -> None:
    file.flush()
    os.fsync(file.fileno())
    _refuse(path, force=force)  # somebody may have been faster
    Path(file.name).replace(path)


def _refuse(path: Path, *, force: bool) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        msg = f'--output = "{path}": expected a file'
        raise BadSetting(msg)
    if not force:
        msg = f'--output = "{path}": it is there already; --force replaces it'
        raise BadSetting(msg)
