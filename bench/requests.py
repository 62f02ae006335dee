"""JSON requests: how many a second, and how much longer they take than without a gateway, by size and connections."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.bridges import process
from bench.tables import Table, number, ratio
from bench.ways import ACKS, DIRECT, OURS, Way, in_turn, provider, ways

KIB: Final = 1024
_DELAY = 0.02  # seconds that the provider takes
# Requests a round, by bytes of a request's body: some seconds' worth.
REQUESTS: Final = {KIB: 1500, 100 * KIB: 600, 2048 * KIB: 64}
CONNECTIONS: Final = (1, 32, 256)
_FEW: Final = 8  # times fewer, on one connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One load on one way. Milliseconds; CPU of Envoy and processor in microseconds a request."""

    way: str
    size: int
    connections: int
    rate: float
    p50: float
    p99: float
    p999: float
    cpu: float
    errors: int


def run(folder: Path, rounds: int, part: float = 1.0) -> Iterator[Round]:
    """Every size with every number of connections, the ways in turn; `part` of the usual number of requests."""
    with provider("bench.provider", 10, 0.01, _DELAY) as url, ways(folder, url) as found:
        for way in found.values():
            _measured(way, KIB, 32, max(64, round(part * 500)))  # warms up
        for size, usual in REQUESTS.items():
            for connections in CONNECTIONS:
                count = max(connections, round(part * usual / (_FEW if connections == 1 else 1)))
                for number in range(rounds):
                    for way in in_turn(found.values(), number):
                        yield _measured(way, size, connections, count)


def _measured(way: Way, size: int, connections: int, count: int) -> Round:
    before = way.cost()
    with process("-m", "bench.load", way.address, "json", *map(str, (connections, count, 10)), f"size={size}") as load:
        told, _ = load.communicate()
    spent, outcome = way.cost() - before, json.loads(told)
    return Round(
        way=way.name,
        size=size,
        connections=connections,
        rate=count / outcome["seconds"],
        cpu=(spent.envoy + spent.processor) / count * 1e6,
        errors=outcome["errors"],
        **outcome["latency"],
    )


def tables(found: Sequence[Round]) -> Iterator[Table]:
    """One for each size."""
    for size in REQUESTS:
        of_size = [one for one in found if one.size == size]
        if of_size:
            yield Table(
                title=f"JSON requests of {size // KIB:,} KiB",
                head=(
                    "connections",
                    "",
                    "requests/s",
                    "p50 ms",
                    "p99 ms",
                    "p99.9 ms",
                    "added p50 ms",
                    "CPU µs",
                    "errors",
                ),
                rows=tuple(_row(several, _direct(several, of_size)) for several in _groups(of_size)),
            )


def _groups(found: Sequence[Round]) -> Iterator[Sequence[Round]]:
    for connections in CONNECTIONS:
        for name in dict.fromkeys(one.way for one in found):
            yield [one for one in found if (one.connections, one.way) == (connections, name)]


def _direct(several: Sequence[Round], of_size: Sequence[Round]) -> float:
    return median(one.p50 for one in of_size if (one.connections, one.way) == (several[0].connections, DIRECT))


def _row(several: Sequence[Round], direct: float) -> tuple[str, ...]:
    first, p50 = several[0], median(one.p50 for one in several)
    return (
        str(first.connections),
        first.way,
        number(median(one.rate for one in several)),
        number(p50),
        number(median(one.p99 for one in several)),
        number(median(one.p999 for one in several)),
        "" if first.way == DIRECT else number(p50 - direct),
        "" if first.way == DIRECT else number(median(one.cpu for one in several)),
        str(sum(one.errors for one in several)),
    )


def verdicts(found: Sequence[Round]) -> Iterator[str]:
    """What CPU a request takes against the acking processor, by size and connections."""
    for size in REQUESTS:
        for connections in CONNECTIONS:
            pair = [
                [one.cpu for one in found if (one.way, one.size, one.connections) == (way, size, connections)]
                for way in (OURS, ACKS)
            ]
            if all(pair):
                told = ratio([ours / acks for ours, acks in zip(*pair, strict=True)])
                yield f"CPU per JSON request of {size // KIB:,} KiB on {connections} connections, to acking: {told}"
