"""What a journal tells of itself, to whoever counts."""

from typing import Protocol


class Watch(Protocol):
    """Called on the journal's thread. None of these raises or waits for anything."""

    def committed(self, seconds: float) -> None:
        """A batch is durable, so long after the first try."""

    def stalled(self) -> None:
        """The file cannot be written; it is tried again until it can."""

    def unfit(self, records: int) -> None:
        """So many were left out, because no database could hold them."""
