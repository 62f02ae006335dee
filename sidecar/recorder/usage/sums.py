"""The statement that adds up the records, for SQLite and PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Any, Final, Literal, get_args

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Integer,
    Label,
    Select,
    Subquery,
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
from sidecar.recorder.usage import costs

Grouping = Literal["actor", "model", "client", "day"]
Tokens = Literal["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
TOKENS: tuple[Tokens, ...] = get_args(Tokens)
Limits = list[ColumnElement[bool]]
_HALF: Final = 32  # bits


def started_within(since: date | None, until: date | None) -> Limits:
    """What `interceptions` must satisfy to have started on these days (UTC, both included, None for no limit)."""
    limits: Limits = []
    if since:
        limits.append(interceptions.c.started_at >= datetime.combine(since, time.min, UTC))
    if until:
        limits.append(interceptions.c.started_at <= datetime.combine(until, time.max, UTC))
    return limits


def statement(dialect: str, within: Limits, rates: CTE) -> CompoundSelect[tuple[object, ...]]:
    """Rows of `grouping`, `name` and sums: those of tokens in halves, the cost as `costs.sums` has it.

    The rows are joined once and grouped four times.
    """
    facts = _facts(dialect, within, rates)
    sums = [func.sum(column).label(column.name) for column in facts.c if column.name not in GROUPINGS]
    return union_all(
        *(
            select(literal(grouping).label("grouping"), facts.c[grouping].label("name"), *sums).group_by(
                facts.c[grouping]
            )
            for grouping in GROUPINGS
        )
    )


def whole(row: Any, name: Tokens) -> int:  # noqa: ANN401 - SQLAlchemy's mapping: int from SQLite, Decimal from PostgreSQL
    """The sum whose halves are in the row."""
    return (int(row[f"{name}_high"]) << _HALF) + int(row[f"{name}_low"])


def _facts(dialect: str, within: Limits, rates: CTE) -> CTE:
    """One row for each interception: what it is grouped by, and what it adds."""
    tools = _tools(within)
    names = {
        "actor": interceptions.c.initiator_id,
        "model": interceptions.c.model,
        "client": interceptions.c.client,
        "day": _day(dialect, interceptions.c.started_at),
    }
    return (
        select(
            *(func.min(value).label(name) for name, value in names.items()),
            literal(1).label("interceptions"),
            func.max(_one_if(interceptions.c.status == "failed")).label("failed"),
            func.max(_one_if(interceptions.c.ended_at.is_(None))).label("open"),
            *_tokens(),
            *costs.sums(rates),
            func.coalesce(func.max(tools.c.tool_calls), 0).label("tool_calls"),
        )
        .select_from(costs.priced(rates).outerjoin(tools, tools.c.interception_id == interceptions.c.id))
        .where(*within)
        .group_by(interceptions.c.id)
        .cte("facts")
    )


def _tokens() -> Iterator[Label[int]]:
    """Sums in halves: a sum of whole ones would fail beyond 64 bits, and an absurd count would cost all the report."""
    for name in TOKENS:
        count = func.coalesce(token_usages.c[name], 0)
        yield _sum(count.bitwise_rshift(literal(_HALF, Integer))).label(f"{name}_high")
        yield _sum(count.bitwise_and(literal(2**_HALF - 1, BigInteger))).label(f"{name}_low")


def _tools(within: Limits) -> Subquery:
    """One row for each interception that has any."""
    owner = tool_usages.c.interception_id
    found: Select[Any] = select(owner, func.count().label("tool_calls")).group_by(owner)
    # Said again, so that a few days cost no walk through all there is.
    few = found.where(owner.in_(select(interceptions.c.id).where(*within))) if within else found
    return few.subquery("tools")


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.sum(column), BigInteger)


def _one_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _day(dialect: str, started: ColumnElement[datetime]) -> ColumnElement[str]:
    if dialect == "postgresql":
        return func.to_char(func.timezone("UTC", started), "YYYY-MM-DD", type_=Text)
    return func.substr(type_coerce(started, Text), 1, 10)
