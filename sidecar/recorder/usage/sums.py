"""The statement that adds up the records, for SQLite and PostgreSQL."""

from datetime import UTC, date, datetime, time
from typing import Any, Literal, get_args

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    Select,
    Subquery,
    Text,
    case,
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


def started_within(since: date | None, until: date | None) -> Limits:
    """What `interceptions` must satisfy to have started on these days (UTC, both included, None for no limit)."""
    limits: Limits = []
    if since:
        limits.append(interceptions.c.started_at >= datetime.combine(since, time.min, UTC))
    if until:
        limits.append(interceptions.c.started_at <= datetime.combine(until, time.max, UTC))
    return limits


def statement(dialect: str, within: Limits, rates: CTE) -> CompoundSelect[tuple[object, ...]]:
    """Rows of `grouping`, `name` and sums: those of tokens in halves, as `costs.sums` has the cost.

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
            *(half for name in TOKENS for half in costs.halves(name, token_usages.c[name])),
            *costs.sums(rates),
            func.coalesce(func.max(tools.c.tool_calls), 0).label("tool_calls"),
        )
        .select_from(costs.priced(rates).outerjoin(tools, tools.c.interception_id == interceptions.c.id))
        .where(*within)
        .group_by(interceptions.c.id)
        .cte("facts")
    )


def _tools(within: Limits) -> Subquery:
    """One row for each interception that has any."""
    owner = tool_usages.c.interception_id
    found: Select[Any] = select(owner, func.count().label("tool_calls")).group_by(owner)
    # Said again, so that a few days cost no walk through all there is.
    few = found.where(owner.in_(select(interceptions.c.id).where(*within))) if within else found
    return few.subquery("tools")


def _one_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _day(dialect: str, started: ColumnElement[datetime]) -> ColumnElement[str]:
    if dialect == "postgresql":
        return func.to_char(func.timezone("UTC", started), "YYYY-MM-DD", type_=Text)
    return func.substr(type_coerce(started, Text), 1, 10)
