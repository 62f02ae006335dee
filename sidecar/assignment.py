"""What a parent tells a worker."""

from dataclasses import dataclass
from pathlib import Path

from sidecar.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the parent wants of a worker. `ready`: a descriptor to write one byte to when it serves."""

    settings: Settings
    socket: Path
    worker: str
    ready: int
