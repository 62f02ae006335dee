"""How a response's body is shown as it comes: a stream by its events, anything else at its end."""

from collections.abc import Callable
from typing import Protocol

from sidecar.core.masks import Masks
from sidecar.core.privacy import Content
from sidecar.telemetry.dumps.bodies import Events, beginning, note


class Reader(Protocol):
    """One body."""

    @property
    def held(self) -> int:
        """How many bytes are kept."""

    def feed(self, data: bytes) -> str:
        """What can be shown now."""

    def end(self, *, is_cut: bool) -> str:
        """What is left to show. `is_cut`: it did not end by itself."""


class Withheld:
    """A body of which only the length may be known."""

    held = 0

    def __init__(self, content: Content) -> None:
        self._content = content
        self._length = 0

    def feed(self, data: bytes) -> str:
        """Nothing."""
        self._length += len(data)
        return ""

    def end(self, *, is_cut: bool) -> str:  # noqa: ARG002 - the shape
        """How long it was."""
        return withheld(self._length, self._content)


class Streamed:
    """A stream. What is kept of an event that is not whole is counted where the response is read, too."""

    held = 0

    def __init__(self, events: Events) -> None:
        self._events = events

    def feed(self, data: bytes) -> str:
        """The events that are whole now."""
        return self._events.feed(data)

    def end(self, *, is_cut: bool) -> str:  # noqa: ARG002 - the shape
        """What is to be said of the rest."""
        return self._events.end()


class Whole:
    """A body that is shown at its end."""

    def __init__(self, show: Callable[[bytes], str], masks: Masks, most: int, longest: int | None) -> None:
        """`most`: bytes that are kept; `longest`: characters of a secret, None: who knows."""
        self._show = show
        self._masks = masks
        self._most = most
        self._longest = longest
        self._data = bytearray()
        self._length = 0

    @property
    def held(self) -> int:
        """How many bytes are kept."""
        return len(self._data)

    def feed(self, data: bytes) -> str:
        """Nothing, yet."""
        self._length += len(data)
        self._data += data[: max(0, self._most - len(self._data))]
        return ""

    def end(self, *, is_cut: bool) -> str:
        """All of it, or as much as can be masked."""
        data, self._data = bytes(self._data), bytearray()
        if self._length == len(data) and not is_cut:
            return self._show(data)
        if self._longest is None:  # a pattern finds no half of what it is to find
            return note(f"{self._length} bytes, not whole or too many, so that recorder.mask cannot be kept")
        return beginning(data, self._masks, self._longest) + note(f"cut here: {self._length} bytes came")


def withheld(length: int, content: Content) -> str:
    """The line in place of a body that may not be known."""
    return note(f"{length} bytes of body withheld, since recorder.content is {content.value}") if length else ""
