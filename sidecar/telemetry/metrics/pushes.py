"""Metrics for an OTLP collector, from the keeper: whether any go there, and the null object for when none do."""

from typing import Protocol

from sidecar.settings import Settings
from sidecar.telemetry.metrics import Metrics


class Pushes(Protocol):
    """Metrics on their way."""

    last: float  # seconds that `close` would like to have

    def close(self, seconds: float) -> bool:
        """Push what is there now, for so many seconds at most; whether that is over."""


class NoPushes:
    """Nobody to send them to."""

    __slots__ = ()
    last = 0.0

    def close(self, seconds: float) -> bool:  # noqa: ARG002 -- the shape
        """Nothing to send."""
        return True


def begun(settings: Settings, bridge: str, since: float, metrics: Metrics) -> Pushes:
    """Pushes from now on, if the settings say where to. `bridge` and `since`: as `KeeperAssignment` has them.

    `metrics`: where failures are counted.
    """
    if not settings.telemetry.pushes_metrics:
        return NoPushes()
    from sidecar.telemetry.metrics.pusher import Pusher  # noqa: PLC0415 -- time and memory, for those who want it

    return Pusher(settings, bridge, since, metrics)
