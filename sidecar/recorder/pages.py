"""All that a store holds, page by page: interceptions as objects, each with what belongs to it.

    after = None ─▶ 500 interceptions from there on, by (started_at, id), with their children ─▶ after = the last one

A page is a transaction of its own: neither a checkpoint of SQLite, nor PostgreSQL's vacuum, nor the drop of a partition
waits for the whole. A page whose texts are too many for the memory is given up and asked for again with half as many.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import JSON, ColumnElement, Connection, Engine, Select, Table, Text, Tuple, cast, func, select, tuple_
from sqlalchemy.sql.elements import KeyedColumnElement

from sidecar.recorder.schema import Moment, interceptions, model_thoughts, token_usages, tool_usages, user_prompts
from sidecar.recorder.usage.sums import started_within

Object = dict[str, Any]

NESTED: Final[Mapping[str, Table]] = MappingProxyType(
    {
        "prompts": user_prompts,
        "token_usages": token_usages,
        "tool_usages": tool_usages,
        "model_thoughts": model_thoughts,
    }
)
AT_ONCE: Final = 500  # interceptions in a page
BYTES: Final = 33_554_432  # characters of text in a page of more than one interception
_FETCHED: Final = 50  # rows that a cursor brings at once: each may have a megabyte
# As SQLite's tables have it.
_MOMENT: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
OPEN_PROMPT: Final = "open_prompt"


class Key(NamedTuple):
    """Where an interception stands in the order of reading."""

    started_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What is to be read: of what started on these days (UTC, both included, None for no limit) all up to `last`.

    `last`: the last that was there in the beginning, so that reading beside traffic ends; None: there was nothing.
    `count`: how many there were.
    """

    since: date | None
    until: date | None
    last: Key | None
    count: int


class Page(NamedTuple):
    """Interceptions as objects: each column and, under the names of `NESTED`, lists of the rows that belong to it.

    Times are text as in SQLite's tables, JSON is decoded. In place of `open_prompt` one that is open has a prompt
    without an id. `size`: characters of text.
    """

    interceptions: list[Object]
    size: int


def extent(engine: Engine, since: date | None, until: date | None) -> Extent:
    """What there is now. Raises SQLAlchemy's `DBAPIError`, as `pages` does."""
    started, identity = interceptions.c.started_at, interceptions.c.id
    these = started_within(since, until)
    with engine.connect() as connection:
        last = connection.execute(
            select(started, identity).where(*these).order_by(started.desc(), identity.desc()).limit(1)
        ).one_or_none()
        count = connection.scalar(select(func.count()).select_from(interceptions).where(*these)) or 0
    return Extent(since=since, until=until, last=Key(*last) if last else None, count=count)


def pages(engine: Engine, extent: Extent) -> Iterator[Page]:
    """The interceptions in the order of their start; each as it is when its page is read, none twice."""
    after: Key | None = None
    limit = AT_ONCE
    with engine.connect() as connection:
        while extent.last and after != extent.last:
            with connection.begin():
                page = _page(connection, _next(extent, after, limit), BYTES if limit > 1 else math.inf)
            if page is None:
                limit //= 2
                continue
            if not page.interceptions:
                return
            yield page
            last = page.interceptions[-1]
            after = Key(datetime.fromisoformat(last["started_at"]), last["id"])
            limit = min(AT_ONCE, 2 * limit)


class _TooMuch(Exception):
    pass


@dataclass(slots=True)
class _Text:
    """How much text has been read."""

    limit: float
    size: int = field(default=0)

    def add(self, values: Iterable[object]) -> None:
        self.size += sum(len(value) for value in values if isinstance(value, str))
        if self.size > self.limit:
            raise _TooMuch


def _page(connection: Connection, statement: Select[Any], limit: float) -> Page | None:
    text = _Text(limit)
    try:
        found = {row["id"]: _nesting(row) for row in _rows(connection, interceptions, statement, text)}
        for name, table in NESTED.items() if found else ():
            for row in _rows(connection, table, _children(table, list(found)), text):
                found[row["interception_id"]][name].append(row)
    except _TooMuch:
        return None
    return Page(list(found.values()), text.size)


def _nesting(row: Object) -> Object:
    prompt = row.pop(OPEN_PROMPT)
    prompts = [] if prompt is None else [_open_prompt(row, prompt)]
    return row | {name: [] for name in NESTED} | {"prompts": prompts}


def _open_prompt(row: Object, prompt: str) -> Object:
    return {"id": None, "interception_id": row["id"], "msg_id": "", "prompt": prompt, "created_at": row["started_at"]}


def _rows(connection: Connection, table: Table, statement: Select[Any], text: _Text) -> Iterator[Object]:
    told = [_told(connection.dialect.name, column) for column in table.c]
    documents = [name for name, column in table.c.items() if isinstance(column.type, JSON)]
    cursor = connection.execute(statement.with_only_columns(*told), execution_options={"yield_per": _FETCHED})
    names = tuple(cursor.keys())
    with cursor:
        for values in cursor:
            text.add(values)
            row = dict(zip(names, values, strict=True))
            for name in documents:
                row[name] = msgspec.json.decode(row[name])
            yield row


def _told(dialect: str, column: KeyedColumnElement[Any]) -> ColumnElement[Any]:
    match column.type:
        case Moment() if dialect == "postgresql":
            return func.to_char(func.timezone("UTC", column), _MOMENT, type_=Text).label(column.key)
        case Moment() | JSON():
            return cast(column, Text).label(column.key)
        case _:
            return column


def _next(extent: Extent, after: Key | None, limit: int) -> Select[Any]:
    started, identity = interceptions.c.started_at, interceptions.c.id
    place = tuple_(started, identity)
    limits = started_within(extent.since, extent.until)
    if extent.last:
        limits.append(place <= _place(extent.last))
    if after:
        # The first says nothing new, but lets PostgreSQL pass over partitions.
        limits += [started >= after.started_at, place > _place(after)]
    return select(interceptions).where(*limits).order_by(started, identity).limit(limit)


def _place(key: Key) -> Tuple:
    return tuple_(*key, types=[Moment(), Text()])


def _children(table: Table, ids: list[str]) -> Select[Any]:
    return select(table).where(table.c.interception_id.in_(ids)).order_by(table.c.created_at, table.c.id)
