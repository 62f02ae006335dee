"""What the journal adds up to: usage by actor, model, client and day."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Literal, TypedDict, get_args

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text
from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    NullPool,
    RowMapping,
    Subquery,
    cast,
    create_engine,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.exc import DBAPIError

from sidecar.core.errors import BadSetting
from sidecar.recorder.connection import check, unavailable, uri
from sidecar.recorder.schema import interceptions, token_usages, tool_usages

Grouping = Literal["actor", "model", "client", "day"]
Tokens = Literal["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens"]
Count = Literal["interceptions", "failed", "open", Tokens, "tool_calls"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
TOKENS: tuple[Tokens, ...] = get_args(Tokens)
COUNTS: tuple[Count, ...] = ("interceptions", "failed", "open", *TOKENS, "tool_calls")


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


def totals(database: Path, since: date | str | None = None, until: date | str | None = None) -> Totals:
    """Usage of what started from `since` to `until`: days (`YYYY-MM-DD`) in UTC, both included, None for no limit.

    All of it belongs to one moment; neither does it wait for the writer nor the writer for it. Raises `BadSetting`
    for what is no day, `JournalUnavailable`.
    """
    first, last = _day("since", since), _day("until", until)
    if first and last and first > last:
        msg = f"until = {last}: expected a day not before since = {first}"
        raise BadSetting(msg)
    found: dict[Grouping, list[Usage]] = {grouping: [] for grouping in GROUPINGS}
    for row in _rows(database, first, last):
        found[row["grouping"]].append(msgspec.convert(dict(row), Usage))
    return Totals(
        since=first.isoformat() if first else None,
        until=last.isoformat() if last else None,
        total=_whole(found["day"]),
        actor=sorted(found["actor"], key=_busiest),
        model=sorted(found["model"], key=_busiest),
        client=sorted(found["client"], key=_busiest),
        day=sorted(found["day"], key=lambda usage: usage["name"]),
    )


def table(usage: Totals) -> Group:
    """The same for a terminal, one table a grouping. What in a name could steer a terminal is replaced."""
    return Group(*(_table(grouping, usage[grouping], usage["total"]) for grouping in GROUPINGS))


def _whole(days: Sequence[Usage]) -> Usage:
    sums: dict[str, int] = {count: sum(day[count] for day in days) for count in COUNTS}
    return msgspec.convert({"name": "", **sums}, Usage)


def _table(grouping: Grouping, lines: Sequence[Usage], whole: Usage) -> Table:
    shown = Table(show_footer=True)
    shown.add_column(grouping, footer="total", overflow="fold")
    for count in COUNTS:
        shown.add_column(_heading(count), footer=f"{whole[count]:,}", justify="right")
    for line in lines:
        shown.add_row(_printable(line["name"]), *(f"{line[count]:,}" for count in COUNTS))
    return shown


def _heading(count: Count) -> str:
    return count.removesuffix("_tokens").removesuffix("_input").replace("_", " ")


def _printable(name: str) -> Text:
    # As Text: brackets in a name are no markup.
    return Text("".join(character if character.isprintable() else "\ufffd" for character in name))


def _busiest(usage: Usage) -> tuple[int, str]:
    return -usage["interceptions"], usage["name"]


def _day(setting: str, value: date | str | None) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        msg = f"{setting} = {value!r}: expected a day, YYYY-MM-DD"
        raise BadSetting(msg) from None


def _rows(database: Path, first: date | None, last: date | None) -> Sequence[RowMapping]:
    check(database)
    reader = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(uri(database, "ro"), uri=True), poolclass=NullPool
    )
    try:
        with reader.connect() as connection:
            return connection.execute(_statement(first, last)).mappings().all()
    except DBAPIError as error:
        raise unavailable(database, error.orig) from error


def _statement(first: date | None, last: date | None) -> CompoundSelect[tuple[object, ...]]:
    """One statement, hence one state of the database; the journal's rows are joined once and grouped four times."""
    facts = _facts(first, last)
    counts = [_total(facts.c[count]).label(count) for count in COUNTS]
    return union_all(
        *(
            select(literal(grouping).label("grouping"), facts.c[grouping].label("name"), *counts).group_by(
                facts.c[grouping]
            )
            for grouping in GROUPINGS
        )
    )


def _facts(first: date | None, last: date | None) -> CTE:
    started, tokens = interceptions.c.started_at, _tokens()
    tools = select(func.count()).where(tool_usages.c.interception_id == interceptions.c.id).scalar_subquery()
    return (
        select(
            interceptions.c.initiator_id.label("actor"),
            interceptions.c.model,
            interceptions.c.client,
            func.substr(started, 1, 10).label("day"),
            literal(1).label("interceptions"),
            interceptions.c.status.is_not_distinct_from("failed").label("failed"),
            interceptions.c.ended_at.is_(None).label("open"),
            *(tokens.c[name] for name in TOKENS),
            tools.label("tool_calls"),
        )
        .join_from(interceptions, tokens, tokens.c.interception_id == interceptions.c.id, isouter=True)
        .where(started >= datetime.combine(first, time.min, UTC) if first else true())
        .where(started <= datetime.combine(last, time.max, UTC) if last else true())
        .cte("facts")
    )


def _tokens() -> Subquery:
    sums = (_total(token_usages.c[name]).label(name) for name in TOKENS)
    return select(token_usages.c.interception_id, *sums).group_by(token_usages.c.interception_id).subquery("tokens")


def _total(column: ColumnElement[int]) -> ColumnElement[int]:
    # Not sum(): it fails beyond 64 bits, and one provider's absurd count would cost everybody the report.
    return cast(func.total(column), BigInteger)
