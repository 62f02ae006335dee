"""Files that may change while we run."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path


class Watched:
    """What is made of `files` by `use`, and made anew whenever they hold something else.

    They are read each time: what a link leads to, or a write in place, changes with no sign that all file systems give.
    """

    def __init__(self, files: Sequence[Path], use: Callable[[], None]) -> None:
        self._files = files
        self._use = use
        self._found: tuple[bytes | None, ...] | None = None

    def look(self) -> bool:
        """Whether they have changed since the last look that went well, and were used. Raises what `use` does."""
        found = tuple(map(_print, self._files))  # first: what changes while it is used is used again
        if found == self._found:
            return False
        self._use()
        self._found = found
        return True


def _print(file: Path) -> bytes | None:
    """What tells a content from another, and is no secret; None: there is nothing to read."""
    try:
        return sha256(file.read_bytes()).digest()
    except OSError:
        return None
