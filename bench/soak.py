"""Ten minutes of mixed load: whether memory stays where it is, and whether files or sockets are left open.

Once with each of gRPC's servers, in turns.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.bridges import SIDECAR, Bridge, bridge, descriptors, memory, process
from bench.tables import Table
from bench.ways import OURS, QUICK, provider

_MIB: Final = 1_048_576
_STEPS = 20  # looks at it, each with as much load as all others before it
_KINDS = (("json", 2000), ("json", 40, "size=2097152"), ("sse", 64), ("sse", 64, "leave=20"))
_CONNECTIONS = 16
_EVENTS = 60
_PSS = re.compile(r"^Pss: +([0-9]+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What Envoy and sidecar hold, a while after a load. `at`: seconds from the beginning; bytes; open files.

    `once`: all of it, with pages that processes share counted once.
    """

    name: str
    at: float
    envoy: int
    sidecar: int
    once: int
    files: int


def run(folder: Path, minutes: float) -> Iterator[Look]:
    """Look again and again, between two loads."""
    with ExitStack() as running:
        url = running.enter_context(provider("bench.provider", _EVENTS, 0.01, 0.0))
        ours = running.enter_context(bridge(OURS, SIDECAR, folder / "ours", url))
        began = time.monotonic()
        yield _look(ours, began)  # alone: another bridge would share its pages with it
        quick = running.enter_context(bridge(QUICK, SIDECAR, folder / "quick", url, server="completion_queue"))
        yield _look(quick, began)
        bridges = (ours, quick)
        for step in range(1, _STEPS + 1):
            while time.monotonic() - began < 60 * minutes * step / _STEPS:
                for kind in _KINDS:
                    for one in bridges:
                        _load(one, *map(str, kind))
            time.sleep(1)
            yield from (_look(one, began) for one in bridges)


def _look(one: Bridge, began: float) -> Look:
    everything = (one.envoy, *one.processors)
    return Look(
        name=one.name,
        at=time.monotonic() - began,
        envoy=memory([one.envoy]),
        sidecar=memory(one.processors),
        once=sum(map(_pss, everything)),
        files=descriptors(everything),
    )


def _pss(pid: int) -> int:
    """Bytes of memory of a process, its share of what it shares (proc(5), /proc/pid/smaps)."""
    [found] = _PSS.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return 1024 * int(found)


def _load(one: Bridge, kind: str, requests: str, *how: str) -> None:
    arguments = (one.settings.listen, kind, str(_CONNECTIONS), requests, str(_EVENTS), *how)
    with process("-m", "bench.load", *arguments) as load:
        load.communicate()


def _parts(found: Sequence[Look]) -> Iterator[Sequence[Sequence[Look]]]:
    """Of each what was seen before any load, and in the thirds of it."""
    for name in dict.fromkeys(one.name for one in found):
        idle, *loaded = (one for one in found if one.name == name)
        third = len(loaded) // 3
        yield [idle], loaded[:third], loaded[third:-third], loaded[-third:]


def tables(found: Sequence[Look]) -> Iterator[Table]:
    """What was held at the beginning, in the middle, at the end."""
    rows = (
        (
            part[0].name,
            f"{part[0].at / 60:.1f} to {part[-1].at / 60:.1f}",
            f"{median(one.envoy for one in part) / _MIB:.1f}",
            f"{median(one.sidecar for one in part) / _MIB:.1f}",
            str(max(one.files for one in part)),
        )
        for parts in _parts(found)
        for part in parts
    )
    yield Table(title="Soak", head=("", "minutes", "Envoy MiB", "sidecar MiB", "open files"), rows=tuple(rows))


def verdicts(found: Sequence[Look]) -> Iterator[str]:
    """What is held with nothing to do; by how much more is held in the last third than in the one before."""
    idle = found[0]
    once, each = idle.once / _MIB, (idle.envoy + idle.sidecar) / _MIB
    told = f"{once:.0f} MiB ({each:.0f} with shared pages counted in each process), allowed: 150 MiB"
    yield f"idle memory of {idle.name} (one worker) with Envoy: {told}"
    for _, _, middle, last in _parts(found):
        before, after = (median(one.envoy + one.sidecar for one in part) for part in (middle, last))
        yield f"memory of {last[0].name} in the last third of the soak, to the third before: {after / before:.3f}"
