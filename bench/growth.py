"""What a request costs as things grow: by its size, by its answer's tools, by what the journal holds already."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Final

from bench.bridges import SIDECAR, Bridge, bridge
from bench.exchanges import interception
from bench.ratios import Plan, measured
from bench.tables import Table, number
from bench.ways import provider
from sidecar.core.records import Ended, Record
from sidecar.recorder.journal.transaction import commit
from sidecar.recorder.rows import row

SIZES: Final = (1, 10, 100, 1000)  # KiB of a request
EVENTS: Final = (30, 100, 300, 1000)  # of a stream
JOURNALS: Final = (0, 10_000, 100_000)  # interceptions that are there already
_DELAY = 0.02
_ROWS = 2000  # interceptions in one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """CPU of Envoy and sidecar in microseconds: a request, or an event where `what` says so."""

    what: str
    amount: int
    cpu: float
    errors: int


def run(folder: Path, rounds: int, part: float = 1.0) -> Iterator[Round]:
    """All of them; `part` of the usual number of requests."""
    plan = Plan(rounds=rounds, requests=max(64, round(part * 1500)), events=100, pace=0.01, delay=_DELAY)
    with ExitStack() as running:
        for events in EVENTS:
            url = running.enter_context(provider("bench.provider", events, plan.pace, _DELAY))
            name = f"events-{events}"
            one = running.enter_context(bridge(name, SIDECAR, folder / name, url))
            yield from _rounds("events of a stream", events, one, replace(plan, events=events), "sse")
        for size in SIZES:
            fewer = replace(plan, requests=max(32, plan.requests // (1 + size // 50)))
            yield from _rounds("KiB of a request", size, one, fewer, "json", f"size={size * 1024}")
    with provider("bench.provider", 100, plan.pace, _DELAY) as url:
        for count in JOURNALS:
            name = f"journal-{count}"
            with bridge(name, SIDECAR, folder / name, url) as one:
                fill(folder / name / "records.db", count)
                yield from _rounds("interceptions in the journal", count, one, plan, "json")


def _rounds(what: str, amount: int, one: Bridge, plan: Plan, kind: str, *how: str) -> Iterator[Round]:
    for number_ in range(plan.rounds + 1):  # the first warms up
        sample = measured(one, "sse" if kind == "sse" else "json", plan, *how)
        if number_:
            yield Round(what=what, amount=amount, cpu=sample.total, errors=sample.errors)


def fill(database: Path, count: int) -> None:
    """Have as many more interceptions in a journal, each with a prompt, tokens and a tool's call."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as connection:
        for first in range(0, count, _ROWS):
            batch = [_recorded(number_) for number_ in range(first, min(count, first + _ROWS))]
            commit(connection, list(chain.from_iterable(batch)))


def _recorded(number_: int) -> list[object]:
    started, rest = interception(f"filled-{number_:09}", 1_780_000_000.0 + number_)
    records: Sequence[Record] = (started, *rest)
    return [row(one, _row_id(one, number_, place), "worker-0") for place, one in enumerate(records)]  # type: ignore[arg-type]


def _row_id(record: Record, number_: int, place: int) -> str:
    is_own = place == 0 or isinstance(record, Ended)
    return f"filled-{number_:09}" if is_own else f"filled-{number_:09}-{place}"


def tables(found: Sequence[Round]) -> Iterator[Table]:
    """One of each."""
    grouped: Mapping[str, list[Round]] = {what: [] for what in dict.fromkeys(one.what for one in found)}
    for one in found:
        grouped[one.what].append(one)
    for what, several in grouped.items():
        unit = "an event" if "events" in what else "a request"
        amounts = dict.fromkeys(one.amount for one in several)
        rows = tuple(_row([one for one in several if one.amount == amount]) for amount in amounts)
        yield Table(title=f"Growth: {what}", head=(what, f"CPU µs {unit}", "errors"), rows=rows)


def _row(several: Sequence[Round]) -> tuple[str, ...]:
    cpu = median(one.cpu for one in several)
    return f"{several[0].amount:,}", number(cpu), str(sum(one.errors for one in several))
