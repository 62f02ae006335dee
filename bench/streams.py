"""Streams: how late each event comes, and how soon the first, by how many there are at once."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.bridges import process
from bench.pictures import Bar, Picture
from bench.tables import Table, number, ratio
from bench.ways import ACKS, DIRECT, OURS, QUICK, Way, in_turn, provider, ways

SHAPES: Final = ((1, 50), (20, 50), (100, 10), (1000, 1))  # streams at once, events a second of each
_SECONDS = 10  # of a stream
_LEAST = 12  # events of a stream
_LOOK = 0.5  # seconds between two looks at the memory
KIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One load on one way. Milliseconds; CPU of Envoy and processor in microseconds an event; memory in KiB a stream.

    `late`: events that came more than a second after they were sent; `lost`: events that never came.
    """

    way: str
    streams: int
    pace: int
    first: float
    p50: float
    p99: float
    late: int
    lost: int
    errors: int
    cpu: float
    memory: float


def run(folder: Path, rounds: int, part: float = 1.0) -> Iterator[Round]:
    """Every shape, the ways in turn; streams `part` as long as usual."""
    with provider("bench.ticking") as url, ways(folder, url, quick=True) as found:
        for way in found.values():
            _measured(way, 20, 50, _LEAST)  # warms up
        for streams, pace in SHAPES:
            events = max(_LEAST, round(part * _SECONDS * pace))
            for number in range(rounds):
                for way in in_turn(found.values(), number):
                    yield _measured(way, streams, pace, events)


def _measured(way: Way, streams: int, pace: int, events: int) -> Round:
    before, held = way.cost(), way.memory()
    asked = ("-m", "bench.listening", way.address, *map(str, (streams, events, 1 / pace)))
    with _peak(way) as peak, process(*asked) as clients:
        told, _ = clients.communicate()
    spent, heard, units = way.cost() - before, json.loads(told), streams * events
    return Round(
        way=way.name,
        streams=streams,
        pace=pace,
        first=heard["first"]["p50"],
        p50=heard["delay"]["p50"],
        p99=heard["delay"]["p99"],
        late=heard["late"],
        lost=units - heard["events"],
        errors=heard["errors"],
        cpu=(spent.envoy + spent.processor) / units * 1e6,
        memory=(max(peak) - held) / streams / KIB,
    )


@contextmanager
def _peak(way: Way) -> Iterator[list[int]]:
    """What was resident, looked at again and again."""
    found, done = [way.memory()], threading.Event()

    def look() -> None:
        while not done.wait(_LOOK):
            found.append(way.memory())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        done.set()
        looking.join()


def tables(found: Sequence[Round]) -> Iterator[Table]:
    """One of all."""
    yield Table(
        title="Streams",
        head=(
            *("streams at events/s", "", "first event ms", "delay p50 ms", "p99 ms", "added p50 ms", "CPU µs an event"),
            *("events/s a core", "KiB a stream", "late", "lost", "errors"),
        ),
        rows=tuple(_row(several, found) for several in _groups(found)),
    )


def _groups(found: Sequence[Round]) -> Iterator[Sequence[Round]]:
    for shape in SHAPES:
        for name in dict.fromkeys(one.way for one in found):
            if several := [one for one in found if (one.streams, one.pace, one.way) == (*shape, name)]:
                yield several


def _row(several: Sequence[Round], found: Sequence[Round]) -> tuple[str, ...]:
    first, p50, cpu = several[0], median(one.p50 for one in several), median(one.cpu for one in several)
    is_direct = first.way == DIRECT
    direct = median(one.p50 for one in _of(found, DIRECT, first.streams))
    return (
        f"{first.streams:,} at {first.pace}",
        first.way,
        number(median(one.first for one in several)),
        number(p50),
        number(median(one.p99 for one in several)),
        "" if is_direct else number(p50 - direct),
        "" if is_direct else number(cpu),
        "" if is_direct else number(1e6 / cpu),
        "" if is_direct else number(max(0.0, median(one.memory for one in several))),
        *(str(sum(getattr(one, name) for one in several)) for name in ("late", "lost", "errors")),
    )


def _of(found: Sequence[Round], way: str, streams: int) -> Sequence[Round]:
    return [one for one in found if (one.way, one.streams) == (way, streams)]


def verdicts(found: Sequence[Round]) -> Iterator[str]:
    """What is added to an event of 20 streams against what the acking processor adds; what 1,000 streams come to."""
    acks, direct = (_of(found, way, 20) for way in (ACKS, DIRECT))
    for who, label in ((OURS, ""), (QUICK, ", with the completion queue")):
        added = [
            (mine.p50 - none.p50) / (theirs.p50 - none.p50)
            for mine, theirs, none in zip(_of(found, who, 20), acks, direct, strict=False)
        ]
        if added:
            yield f"added p50 per event, 20 streams of 50 events/s{label}, to acking: {ratio(added)}, allowed: 1.2"
    if many := _of(found, OURS, 1000):
        errors, late, lost = (sum(getattr(one, name) for one in many) for name in ("errors", "late", "lost"))
        memory = median(one.memory for one in many)
        yield (
            f"1,000 streams: {errors} errors, {lost} events lost, {late} later than 1 s, {memory:.0f} KiB a stream, "
            "allowed: none, none, none, 150 KiB"
        )


def pictures(found: Sequence[Round]) -> Iterator[Picture]:
    """How late events of 20 streams come."""
    if of_twenty := [several for several in _groups(found) if several[0].streams == 20]:  # noqa: PLR2004 - the shape that is judged
        bars = [
            Bar(label=several[0].way, value=median(one.p50 for one in several), ours=several[0].way in {OURS, QUICK})
            for several in of_twenty
        ]
        yield Picture(
            name="delay", title="Delay of an event, 20 streams of 50 events/s, p50 in milliseconds", bars=bars
        )
