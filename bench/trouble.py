"""What happens when clients hang up and when the provider dies, and what more workers give."""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.bridges import SIDECAR, Bridge, bridge, process
from bench.tables import Table, number
from bench.ways import provider
from sidecar.settings import Settings

WORKERS: Final = (1, 2, 4)
_CONNECTIONS = 16
_EVENTS = 60
_PACE = 0.01
_LEAVE = 20  # percent
_PATIENCE = 30.0  # seconds for the last records


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What came of one load. CPU of Envoy and sidecar in microseconds a request, `p50` in milliseconds.

    `records`: interceptions; `ended`: those that have an end.
    """

    what: str
    requests: int
    rate: float
    p50: float
    cpu: float
    errors: int
    records: int
    ended: int


def run(folder: Path, rounds: int, part: float = 1.0) -> Iterator[Round]:
    """Streams of which a fifth is left amid; a provider that is killed under load; 1, 2 and 4 workers."""
    streams, requests = max(32, round(part * 300)), max(64, round(part * 3000))
    with provider("bench.provider", _EVENTS, _PACE, 0.02) as url, bridge("left", SIDECAR, folder / "left", url) as one:
        for _ in range(rounds):
            yield _measured(f"{_LEAVE} % of the clients hang up", one, "sse", streams, f"leave={_LEAVE}")
    for number_ in range(rounds):
        yield _dying(folder / f"dies-{number_}", streams)
    with provider("bench.provider", _EVENTS, _PACE, 0.0) as url:
        for workers in WORKERS:
            name = f"workers-{workers}"
            with bridge(name, SIDECAR, folder / name, url, workers=workers) as one:
                for number_ in range(rounds + 1):
                    found = _measured(f"workers: {workers}", one, "json", requests)
                    if number_:
                        yield found


def _dying(folder: Path, streams: int) -> Round:
    """The provider is killed while streams are under way; what is asked afterwards fails at once."""
    with process("-m", "bench.provider", *map(str, (_EVENTS, _PACE, 0.0))) as dies:
        assert dies.stdout  # noqa: S101 - it was asked for
        url = dies.stdout.readline().strip()
        with bridge("dies", SIDECAR, folder, url) as one:
            return _measured("the provider is killed", one, "sse", streams, kill=dies.kill)


def _measured(what: str, one: Bridge, kind: str, requests: int, *how: str, kill: object = None) -> Round:
    before, had = one.cost(), _counts(one.settings)
    arguments = (one.settings.listen, kind, *map(str, (_CONNECTIONS, requests, _EVENTS)), *how)
    with process("-m", "bench.load", *arguments) as load:
        if callable(kill):
            time.sleep(_EVENTS * _PACE * 2)
            kill()
        told, _ = load.communicate()
    outcome, has = json.loads(told), _ended(one.settings)
    spent = one.cost() - before
    return Round(
        what=what,
        requests=requests,
        rate=requests / outcome["seconds"],
        p50=outcome["latency"]["p50"],
        cpu=(spent.envoy + spent.processor) / requests * 1e6,
        errors=outcome["errors"],
        records=has[0] - had[0],
        ended=has[1] - had[1],
    )


def _ended(settings: Settings) -> tuple[int, int]:
    """The counts, once everything has an end, or nothing more comes."""
    until = time.monotonic() + _PATIENCE
    while (found := _counts(settings))[0] > found[1] and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _counts(settings: Settings) -> tuple[int, int]:
    """Interceptions, and those that have an end."""
    with closing(sqlite3.connect(settings.database)) as connection:
        found = connection.execute("SELECT count(*), count(ended_at) FROM interceptions").fetchone()
    return int(found[0]), int(found[1])


def tables(found: Sequence[Round]) -> Iterator[Table]:
    """One of all."""
    rows = (_row([one for one in found if one.what == what]) for what in dict.fromkeys(one.what for one in found))
    head = ("", "requests/s", "p50 ms", "CPU µs", "requests", "answers cut or failed", "records", "with an end")
    yield Table(title="Trouble, and more workers", head=head, rows=tuple(rows))


def _row(several: Sequence[Round]) -> tuple[str, ...]:
    measured = (number(median(getattr(one, name) for one in several)) for name in ("rate", "p50", "cpu"))
    counted = (f"{sum(getattr(one, name) for one in several):,}" for name in ("requests", "errors", "records", "ended"))
    return (several[0].what, *measured, *counted)
