"""What a parent tells a worker, or its keeper: this to begin with; in the end a line with the seconds that are left."""

from dataclasses import dataclass
from pathlib import Path

from sidecar.settings import Settings

TIME = 18.0  # seconds that a worker has to stop in, unless it is told that fewer are left
BEAT = 1.0  # seconds between two signs of life


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the parent wants of a worker. `ready`: a descriptor for a byte when it serves, and every `BEAT` then."""

    settings: Settings
    socket: Path
    worker: str
    ready: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperAssignment:
    """What the parent wants of a journal's keeper. `ready`: as in `Assignment`.

    `bridge` is who the parent is, `since` when it began (seconds since the epoch): for those whom metrics are sent to.
    """

    settings: Settings
    ready: int
    bridge: str
    since: float
