"""What the records add up to: usage and its cost, by actor, model, client and day."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, TypedDict

import msgspec
from sqlalchemy import Connection

from sidecar.recorder.usage import costs, prices
from sidecar.recorder.usage.sums import GROUPINGS, TOKENS, Grouping, Tokens, started_within, statement

Count = Literal["interceptions", "failed", "open", Tokens, "tool_calls"]
COUNTS: tuple[Count, ...] = ("interceptions", "failed", "open", *TOKENS, "tool_calls")
MOST = 2**63 - 1  # no count is told larger (or, negative, smaller) than what 64 bits hold


class Usage(TypedDict):
    """What one actor, model, client or day comes to; `name` is empty for the whole.

    `cost`: the list price, in US dollars, of all tokens whose price is known, exactly, as decimal text; None where that
    is nothing and there are others. `unpriced`: interceptions that have such others. Both are None where a Recorder
    service does not tell them.
    """

    name: str
    interceptions: int
    failed: int
    open: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    tool_calls: int
    cost: str | None
    unpriced: int | None


class Prices(TypedDict):
    """Whose prices they are, and the newest day on which one was checked: see `prices.date`."""

    source: str
    date: str | None


class Totals(TypedDict):
    """The report, as `--json` prints it. Busiest first; days in their order. `since` and `until` are included.

    `prices` is None where a Recorder service does not tell.
    """

    since: str | None
    until: str | None
    total: Usage
    actor: list[Usage]
    model: list[Usage]
    client: list[Usage]
    day: list[Usage]
    prices: Prices | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sum:
    """`cost`: as many of `costs.UNIT`."""

    name: str = ""
    counts: dict[Count, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    cost: int = 0
    unpriced: int = 0


def totals(connection: Connection, since: date | None = None, until: date | None = None) -> Totals:
    """Usage of what started from `since` to `until`: days in UTC, both included, None for no limit.

    All of it belongs to one moment if the connection's transaction sees one. Each count is between -MOST - 1 and MOST.
    Raises SQLAlchemy's `DBAPIError`.
    """
    within = started_within(since, until)
    asked = statement(connection.dialect.name, within, costs.rates(connection, within))
    found: dict[Grouping, list[_Sum]] = {grouping: [] for grouping in GROUPINGS}
    for row in connection.execute(asked).mappings():
        found[row["grouping"]].append(_sum(row))
    lines = {grouping: [_usage(one) for one in found[grouping]] for grouping in GROUPINGS}
    return Totals(
        since=since.isoformat() if since else None,
        until=until.isoformat() if until else None,
        total=_usage(_whole(found["day"])),
        actor=sorted(lines["actor"], key=_busiest),
        model=sorted(lines["model"], key=_busiest),
        client=sorted(lines["client"], key=_busiest),
        day=sorted(lines["day"], key=lambda usage: usage["name"]),
        prices=Prices(source=prices.source(), date=prices.date()),
    )


def _sum(row: Any) -> _Sum:  # noqa: ANN401 - SQLAlchemy's mapping: int from SQLite, Decimal from PostgreSQL
    counts = {count: costs.joined(row, count) if count in TOKENS else int(row[count]) for count in COUNTS}
    return _Sum(name=row["name"], counts=counts, cost=costs.joined(row, "cost"), unpriced=int(row["unpriced"]))


def _whole(days: Iterable[_Sum]) -> _Sum:
    days = list(days)
    return _Sum(
        counts={count: sum(day.counts[count] for day in days) for count in COUNTS},
        cost=sum(day.cost for day in days),
        unpriced=sum(day.unpriced for day in days),
    )


def _usage(one: _Sum) -> Usage:
    clamped = {str(count): max(-MOST - 1, min(MOST, value)) for count, value in one.counts.items()}
    cost = costs.dollars(one.cost) if one.cost or not one.unpriced else None
    return msgspec.convert({"name": one.name, **clamped, "cost": cost, "unpriced": one.unpriced}, Usage)


def _busiest(usage: Usage) -> tuple[int, str]:
    return -usage["interceptions"], usage["name"]
