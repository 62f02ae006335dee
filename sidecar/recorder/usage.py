"""What the records add up to: usage by actor, model, client and day, in SQLite and in PostgreSQL."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Literal, TypedDict, get_args

import msgspec
from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Integer,
    Select,
    Subquery,
    Table,
    Text,
    case,
    cast,
    func,
    literal,
    select,
    type_coerce,
    union_all,
)

from sidecar.recorder.schema import interceptions, token_usages, tool_usages

Grouping = Literal["actor", "model", "client", "day"]
Tokens = Literal["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens"]
Count = Literal["interceptions", "failed", "open", Tokens, "tool_calls"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
TOKENS: tuple[Tokens, ...] = get_args(Tokens)
COUNTS: tuple[Count, ...] = ("interceptions", "failed", "open", *TOKENS, "tool_calls")
Limits = list[ColumnElement[bool]]
MOST = 2**63 - 1  # no count is told larger (or, negative, smaller) than what 64 bits hold
_HALF = 32  # bits


class Usage(TypedDict):
    """What one actor, model, client or day comes to; `name` is empty for the whole."""

    name: str
    interceptions: int
    failed: int
    open: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    tool_calls: int


class Totals(TypedDict):
    """The report, as `--json` prints it. Busiest first; days in their order. `since` and `until` are included."""

    since: str | None
    until: str | None
    total: Usage
    actor: list[Usage]
    model: list[Usage]
    client: list[Usage]
    day: list[Usage]


def totals(connection: Connection, since: date | None = None, until: date | None = None) -> Totals:
    """Usage of what started from `since` to `until`: days in UTC, both included, None for no limit.

    One statement, hence all of it belongs to one moment. Each count is between -MOST - 1 and MOST. Raises SQLAlchemy's
    `DBAPIError`.
    """
    found: dict[Grouping, list[Usage]] = {grouping: [] for grouping in GROUPINGS}
    for row in connection.execute(_statement(connection.dialect.name, since, until)).mappings():
        found[row["grouping"]].append(_usage(row["name"], {count: _count(row, count) for count in COUNTS}))
    return Totals(
        since=since.isoformat() if since else None,
        until=until.isoformat() if until else None,
        total=_whole(found["day"]),
        actor=sorted(found["actor"], key=_busiest),
        model=sorted(found["model"], key=_busiest),
        client=sorted(found["client"], key=_busiest),
        day=sorted(found["day"], key=lambda usage: usage["name"]),
    )


def started_within(since: date | None, until: date | None) -> Limits:
    """What `interceptions` must satisfy to have started on these days (UTC, both included, None for no limit)."""
    limits: Limits = []
    if since:
        limits.append(interceptions.c.started_at >= datetime.combine(since, time.min, UTC))
    if until:
        limits.append(interceptions.c.started_at <= datetime.combine(until, time.max, UTC))
    return limits


def _count(row: Any, count: Count) -> int:  # noqa: ANN401 - SQLAlchemy's mapping: int from SQLite, Decimal from PostgreSQL
    if count not in TOKENS:
        return int(row[count])
    return (int(row[f"{count}_high"]) << _HALF) + int(row[f"{count}_low"])


def _usage(name: str, counts: dict[Count, int]) -> Usage:
    clamped: dict[str, int] = {count: max(-MOST - 1, min(MOST, value)) for count, value in counts.items()}
    return msgspec.convert({"name": name, **clamped}, Usage)


def _whole(days: Sequence[Usage]) -> Usage:
    return _usage("", {count: sum(day[count] for day in days) for count in COUNTS})


def _busiest(usage: Usage) -> tuple[int, str]:
    return -usage["interceptions"], usage["name"]


def _statement(dialect: str, since: date | None, until: date | None) -> CompoundSelect[tuple[object, ...]]:
    """The rows are joined once and grouped four times."""
    facts = _facts(dialect, since, until)
    sums = [func.sum(column).label(column.name) for column in facts.c if column.name not in GROUPINGS]
    return union_all(
        *(
            select(literal(grouping).label("grouping"), facts.c[grouping].label("name"), *sums).group_by(
                facts.c[grouping]
            )
            for grouping in GROUPINGS
        )
    )


def _facts(dialect: str, since: date | None, until: date | None) -> CTE:
    """One row for each interception: what it is grouped by, and what it adds."""
    started, within = interceptions.c.started_at, started_within(since, until)
    tokens, tools = _tokens(within), _tools(within)
    counted = [column for child in (tokens, tools) for column in child.c if column.name != "interception_id"]
    return (
        select(
            interceptions.c.initiator_id.label("actor"),
            interceptions.c.model,
            interceptions.c.client,
            _day(dialect, started).label("day"),
            literal(1).label("interceptions"),
            _one_if(interceptions.c.status == "failed").label("failed"),
            _one_if(interceptions.c.ended_at.is_(None)).label("open"),
            *(func.coalesce(column, 0).label(column.name) for column in counted),
        )
        .select_from(_joined(interceptions, (tokens, tools)))
        .where(*within)
        .cte("facts")
    )


def _joined(rows: FromClause, children: Iterable[Subquery]) -> FromClause:
    for child in children:
        rows = rows.outerjoin(child, child.c.interception_id == interceptions.c.id)
    return rows


def _tokens(within: Limits) -> Subquery:
    """Sums in halves: a sum of whole ones would fail beyond 64 bits, and an absurd count would cost all the report."""
    sums = (half for name in TOKENS for half in _halves(token_usages.c[name]))
    return _of(token_usages, within, *sums).subquery("tokens")


def _halves(column: ColumnElement[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    high = column.bitwise_rshift(literal(_HALF, Integer))
    low = column.bitwise_and(literal(2**_HALF - 1, BigInteger))
    return _sum(high).label(f"{column.key}_high"), _sum(low).label(f"{column.key}_low")


def _tools(within: Limits) -> Subquery:
    return _of(tool_usages, within, func.count().label("tool_calls")).subquery("tools")


def _of(table: Table, within: Limits, *counts: ColumnElement[int]) -> Select[tuple[object, ...]]:
    """One row for each interception that has any there."""
    owner = table.c.interception_id
    statement = select(owner, *counts).group_by(owner)
    # Said again, so that a few days cost no walk through all there is.
    return statement.where(owner.in_(select(interceptions.c.id).where(*within))) if within else statement


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.sum(column), BigInteger)


def _one_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _day(dialect: str, started: ColumnElement[datetime]) -> ColumnElement[str]:
    if dialect == "postgresql":
        return func.to_char(func.timezone("UTC", started), "YYYY-MM-DD", type_=Text)
    return func.substr(type_coerce(started, Text), 1, 10)
