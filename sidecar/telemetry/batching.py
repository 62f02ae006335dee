"""Calls that are put off and made many at once: what they touch is in the processor's caches then, and each takes less.

a stream ── put ──▶ calls that wait ── so many, or a moment later ──▶ made, in their order
"""

from collections.abc import Callable
from typing import Any, Final

MOST: Final = 256  # calls that wait; to make them takes a millisecond
LONGEST: Final = 0.1  # seconds that one waits

Call = Callable[..., None]
Later = Callable[[float, Callable[[], None]], object]


class Batch:
    """Of an event loop. Who is called raises nothing and waits for nothing."""

    def __init__(self, later: Later) -> None:
        """`later`: has something called in so many seconds, as the loop's `call_later` does."""
        self._later = later
        self._calls: list[tuple[Call, tuple[Any, ...]]] = []

    def put(self, call: Call, *arguments: object) -> None:
        """Have it called, `LONGEST` seconds from now at the latest."""
        self._calls.append((call, arguments))
        if len(self._calls) == 1:
            self._later(LONGEST, self.make)
        elif len(self._calls) >= MOST:
            self.make()

    def make(self) -> None:
        """Make those that wait, now."""
        calls, self._calls = self._calls, []
        for call, arguments in calls:
            call(*arguments)
