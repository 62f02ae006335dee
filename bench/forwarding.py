"""How many interceptions a second reach PostgreSQL, fed straight into the journal, and whether the backlog grows.

python -m bench.forwarding [--rate 1000] [--seconds 20]

feeder ──▶ journal ──▶ keeper ──▶ PostgreSQL          each a process of its own, on this machine; CPU of each is told
"""

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.bridges import process, seconds, tree
from bench.exchanges import interception
from sidecar.children import Keeper
from sidecar.ids import Ids
from sidecar.recorder.journal.connection import uri
from sidecar.recorder.journal.group_commit import Journal
from sidecar.recorder.journal.migration import migrate
from sidecar.settings import Recorder, Settings, Telemetry
from sidecar.telemetry.metrics import NoMetrics
from sidecar.telemetry.metrics.watches import Journaling
from tests.postgres import Postgres, execute

_COUNT: Final = "SELECT count(*) FROM interceptions"
_MICRO = 1_000_000
_TICK = 0.1  # seconds
_DRAIN = 120.0  # seconds that the rest may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it.

    `took`: for how many seconds it was fed; `backlogs`: interceptions in the journal, second by second; CPU in seconds.
    """

    fed: int
    stored: int
    took: float
    drained: float
    backlogs: Sequence[int]
    feeder: float
    keeper: float
    database: float


async def feed(database: Path, rate: int, duration: float) -> tuple[int, float]:
    """Hand `rate` interceptions a second to a journal; returns how many, and after how many seconds all were safe."""
    ids = Ids(time.time)
    journal = Journal(database, worker="bench:0:0", new_id=ids, now=time.time, watch=Journaling(NoMetrics(), None))
    journal.open(asyncio.get_running_loop())
    began, fed, last = time.perf_counter(), 0, None
    while (passed := time.perf_counter() - began) < duration:
        for _ in range(int(passed * rate) - fed):
            started, rest = interception(ids(), time.time())
            journal.submit([started])
            last = journal.submit(rest)
            fed += 1
        await asyncio.sleep(0.005)
    if last is not None:
        await last
    took = time.perf_counter() - began
    await asyncio.to_thread(journal.close, _DRAIN)
    return fed, took


async def measured(settings: Settings, url: str, server: int, rate: int, duration: float) -> Outcome:
    """Feed, forward and look on, until everything has arrived."""
    keeper, there = Keeper(settings), set(tree(os.getpid()))
    await keeper.start()
    [kept] = set(tree(os.getpid())) - there
    fed_by = ("--feed", str(settings.database), "--rate", str(rate), "--seconds", str(duration))
    with process("-m", "bench.forwarding", *fed_by) as feeder:
        before = sum(map(seconds, tree(server)))
        backlogs, spent = [], 0.0
        while feeder.poll() is None:
            await asyncio.sleep(1.0)
            backlogs.append(_backlog(settings.database))
            with suppress(OSError):
                spent = seconds(feeder.pid)
        assert feeder.stdout  # noqa: S101 - it was asked for
        fed, took = feeder.stdout.read().split()
    ended = time.perf_counter()
    while _backlog(settings.database) and time.perf_counter() - ended < _DRAIN:  # noqa: ASYNC110 - it is polled
        await asyncio.sleep(_TICK)
    drained = time.perf_counter() - ended
    found = Outcome(
        fed=int(fed),
        stored=execute(url, _COUNT)[0][0],
        took=float(took),
        drained=drained,
        backlogs=backlogs,
        feeder=spent,
        keeper=seconds(kept),
        database=sum(map(seconds, tree(server))) - before,
    )
    await keeper.stop()
    return found


def _backlog(database: Path) -> int:
    with closing(sqlite3.connect(uri(database, "ro"), uri=True)) as connection:
        return int(connection.execute(_COUNT).fetchone()[0])


def table(found: Outcome, rate: int) -> Table:
    """Everything, for a person."""
    title = f"{rate} interceptions a second into the journal, on to PostgreSQL"
    shown = Table("", "", title=title, box=SIMPLE, show_header=False)
    for name, value in _lines(found):
        shown.add_row(name, value)
    return shown


def _lines(found: Outcome) -> Iterator[tuple[str, str]]:
    half = len(found.backlogs) // 2
    yield "fed, stored", f"{found.fed}, {found.stored}"
    yield "a second", f"{found.fed / found.took:.0f} fed, {found.stored / (found.took + found.drained):.0f} stored"
    yield "backlog, first half", f"median {median(found.backlogs[:half] or [0]):.0f}"
    yield (
        "backlog, second half",
        f"median {median(found.backlogs[half:] or [0]):.0f}, most {max(found.backlogs or [0])}",
    )
    yield "until all had arrived", f"{found.drained:.1f} s"
    for name, spent in (("feeder and journal", found.feeder), ("keeper", found.keeper), ("PostgreSQL", found.database)):
        yield f"CPU: {name}", f"{spent / found.fed * _MICRO:.0f} µs each"


@click.command()
@click.option("--rate", default=1000, show_default=True, type=click.IntRange(1), help="Interceptions a second.")
@click.option("--seconds", "duration", default=20.0, show_default=True, help="For how long.")
@click.option("--feed", "database", type=click.Path(path_type=Path), hidden=True)
def main(*, rate: int, duration: float, database: Path | None) -> None:
    """Measure. Exit status 1 when not everything arrived, once."""
    if database is not None:
        click.echo(" ".join(map(str, asyncio.run(feed(database, rate, duration)))))
        return
    os.umask(0o077)
    with ExitStack() as stack:
        made = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp"))
        server = stack.enter_context(Postgres(fsync="on"))
        url = stack.enter_context(server.database())
        recorder = Recorder(url=url, journal=Path(made) / "journal.db")
        settings = Settings(runtime_dir=Path(made), recorder=recorder, telemetry=Telemetry(metrics=""))
        migrate(settings.database)
        found = asyncio.run(measured(settings, url, server.pid, rate, duration))
    Console(width=None if sys.stdout.isatty() else 100).print(table(found, rate))
    sys.exit(found.fed != found.stored)


if __name__ == "__main__":
    main()
