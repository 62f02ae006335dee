"""What the server shows to those who dump requests and responses, and the null object for when nobody does."""

from typing import Protocol

from sidecar.core.events import Event
from sidecar.core.replies import Step


class Dump(Protocol):
    """The dump of one request with its response. Nothing here raises or waits for a disk."""

    def seen(self, event: Event, step: Step) -> None:
        """`event` came, and `step` followed: empty where it was not understood, its records as the gate let them."""

    def chunk(self, data: bytes) -> None:
        """A chunk of the response came that tells the reader nothing."""

    def close(self) -> None:
        """Nothing more will come. Safe to call twice."""


class Dumps(Protocol):
    """Where dumps begin."""

    def begin(self, interception: str) -> Dump | None:
        """The dump of this interception; None: it is not wanted."""

    def close(self, timeout: float) -> None:
        """Write what is waiting, for at most `timeout` seconds; blocks so long. Safe to call twice."""


class NoDumps:
    """Dumps are off."""

    __slots__ = ()

    def begin(self, interception: str) -> None:
        """Nothing."""

    def close(self, timeout: float) -> None:
        """Nothing."""
