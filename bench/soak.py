"""Ten minutes of mixed load: whether memory stays where it is, and whether files or sockets are left open."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.bridges import SIDECAR, Bridge, bridge, descriptors, memory, process
from bench.tables import Table
from bench.ways import provider

_MIB: Final = 1_048_576
_STEPS = 20  # looks at it, each with as much load as all others before it
_KINDS = (("json", 2000), ("json", 40, "size=2097152"), ("sse", 64), ("sse", 64, "leave=20"))
_CONNECTIONS = 16
_EVENTS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What Envoy and sidecar hold, a while after a load. `at`: seconds from the beginning; bytes; open files."""

    at: float
    envoy: int
    sidecar: int
    files: int


def run(folder: Path, minutes: float) -> Iterator[Look]:
    """Look again and again, between two loads."""
    with ExitStack() as running:
        url = running.enter_context(provider("bench.provider", _EVENTS, 0.01, 0.0))
        one = running.enter_context(bridge("soak", SIDECAR, folder / "soak", url))
        began = time.monotonic()
        yield _look(one, began)
        for step in range(1, _STEPS + 1):
            while time.monotonic() - began < 60 * minutes * step / _STEPS:
                for kind in _KINDS:
                    _load(one, *map(str, kind))
            time.sleep(1)
            yield _look(one, began)


def _look(one: Bridge, began: float) -> Look:
    return Look(
        at=time.monotonic() - began,
        envoy=memory([one.envoy]),
        sidecar=memory(one.processors),
        files=descriptors((one.envoy, *one.processors)),
    )


def _load(one: Bridge, kind: str, requests: str, *how: str) -> None:
    arguments = (one.settings.listen, kind, str(_CONNECTIONS), requests, str(_EVENTS), *how)
    with process("-m", "bench.load", *arguments) as load:
        load.communicate()


def tables(found: Sequence[Look]) -> Iterator[Table]:
    """What was held at the beginning, in the middle, at the end."""
    idle, *loaded = found
    third = len(loaded) // 3
    parts = ([idle], loaded[:third], loaded[third:-third], loaded[-third:])
    rows = (
        (
            f"{part[0].at / 60:.1f} to {part[-1].at / 60:.1f}",
            f"{median(one.envoy for one in part) / _MIB:.1f}",
            f"{median(one.sidecar for one in part) / _MIB:.1f}",
            str(max(one.files for one in part)),
        )
        for part in parts
    )
    yield Table(title="Soak", head=("minutes", "Envoy MiB", "sidecar MiB", "open files"), rows=tuple(rows))


def verdicts(found: Sequence[Look]) -> Iterator[str]:
    """What is held with nothing to do; by how much more is held in the last third than in the one before."""
    idle, *loaded = found
    third = len(loaded) // 3
    held = [one.envoy + one.sidecar for one in loaded]
    grown = median(held[-third:]) / median(held[third:-third])
    resting = (idle.envoy + idle.sidecar) / _MIB
    yield f"idle memory of sidecar (one worker) with Envoy: {resting:.0f} MiB, allowed: 150 MiB"
    yield f"memory in the last third of the soak, to the third before: {grown:.3f}"
