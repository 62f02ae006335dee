"""Interceptions one below the other, page by page: a page begins after the last row of the one before."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, Text, select, tuple_

from sidecar.console import money
from sidecar.console.filters import Asked
from sidecar.console.money import Tokens
from sidecar.recorder.schema import Moment, interceptions, token_usages, tool_usages

ROWS: Final = 50
_TICK: Final = timedelta(microseconds=1)  # between two moments
_COLUMNS: Final = (
    interceptions.c.id,
    interceptions.c.initiator_id.label("actor"),
    interceptions.c.model,
    interceptions.c.client,
    interceptions.c.status,
    interceptions.c.error_type,
    interceptions.c.started_at,
    interceptions.c.ended_at,
    interceptions.c.correlating_tool_call_id.label("call"),
)


class Place(NamedTuple):
    """Where an interception stands in the order of their start."""

    started_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An interception. `call`: the tool call whose output it brings; `answers`: whose call that was, if shown."""

    id: str
    actor: str
    model: str
    client: str
    status: str | None
    error_type: str | None
    started_at: datetime
    ended_at: datetime | None
    call: str | None
    tokens: Tokens
    answers: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it is open."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`after`: where the next page begins, None on the last one."""

    rows: Sequence[Row]
    after: Place | None


def newest(connection: Connection, asked: Asked, after: Place | None) -> Page:
    """The last ones to have started first. Raises SQLAlchemy's `DBAPIError`."""
    started, identity = interceptions.c.started_at, interceptions.c.id
    # One limit to search an index by: of two SQLite takes the first, and passes all pages before this one.
    if after and after.started_at < asked.until:
        asked = replace(asked, until=after.started_at + _TICK)
    statement = select(*_COLUMNS).where(*asked.where()).order_by(started.desc(), identity.desc())
    if after:
        statement = statement.where(tuple_(started, identity) < _place(after))
    return _page(connection, statement, asked)


def in_order(connection: Connection, asked: Asked, session: str, after: Place | None) -> Page:
    """Those of a session as they came, each with whose tool call it answers. Raises SQLAlchemy's `DBAPIError`."""
    started, identity = interceptions.c.started_at, interceptions.c.id
    if after and after.started_at > asked.since:
        asked = replace(asked, since=after.started_at)
    these = [*asked.where(), interceptions.c.client_session_id == session]
    statement = select(*_COLUMNS).where(*these).order_by(started, identity)
    if after:
        statement = statement.where(tuple_(started, identity) > _place(after))
    page = _page(connection, statement, asked)
    calls = _calls(connection, [row.id for row in page.rows])
    return replace(page, rows=[replace(row, answers=calls.get(row.call or "")) for row in page.rows])


def _page(connection: Connection, statement: Select[Any], asked: Asked) -> Page:
    found = connection.execute(statement.limit(ROWS + 1)).mappings().all()
    shown = found[:ROWS]
    counted = _tokens(connection, asked, [row["id"] for row in shown])
    rows = [Row(**row, tokens=counted[row["id"]]) for row in shown]
    is_last = len(found) <= ROWS
    return Page(rows=rows, after=None if is_last else Place(rows[-1].started_at, rows[-1].id))


def _tokens(connection: Connection, asked: Asked, ids: Sequence[str]) -> defaultdict[str, Tokens]:
    owner = token_usages.c.interception_id
    statement = money.statement([owner], asked.since, asked.until, owner.in_(ids))
    found: defaultdict[str, Tokens] = defaultdict(Tokens)
    for row in connection.execute(statement) if ids else ():
        found[row.interception_id].add(money.tokens(row))
    return found


def _calls(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """By tool call whose it was."""
    if not ids:
        return {}
    call, owner = tool_usages.c.tool_call_id, tool_usages.c.interception_id
    rows = connection.execute(select(call, owner).where(owner.in_(ids), call.is_not(None)))
    return {row.tool_call_id: row.interception_id for row in rows}


def _place(place: Place) -> Any:  # noqa: ANN401 - SQLAlchemy's tuple
    return tuple_(*place, types=[Moment(), Text()])
