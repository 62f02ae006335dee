"""Sessions: what one actor's client says belongs together."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, Text, case, func, select, tuple_

from sidecar.console import money
from sidecar.console.filters import Asked
from sidecar.console.money import Tokens
from sidecar.recorder.schema import Moment, interceptions

ROWS: Final = 50
_Key = tuple[str, str]


class Place(NamedTuple):
    """Where a session stands: by its last interception's start. A client chooses its sessions' names: two may meet."""

    last: datetime
    actor: str
    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a session comes to within the span; `client`: one of its clients' names."""

    session: str
    actor: str
    client: str
    requests: int
    failed: int
    first: datetime
    last: datetime
    tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`after`: where the next page begins, None on the last one."""

    rows: Sequence[Session]
    after: Place | None


def sessions(connection: Connection, asked: Asked, after: Place | None) -> Page:
    """The last ones to have been active first. Raises SQLAlchemy's `DBAPIError`."""
    found = connection.execute(_statement(asked, after).limit(ROWS + 1)).mappings().all()
    shown = found[:ROWS]
    # What they have is between their first and their last: the rest of the span need not be read again.
    within = (
        replace(asked, since=min(row["first"] for row in shown), until=_after(shown[0]["last"])) if shown else asked
    )
    counted = _tokens(connection, within, [(row["actor"], row["session"]) for row in shown])
    rows = [Session(**row, tokens=counted[row["actor"], row["session"]]) for row in shown]
    is_last = len(found) <= ROWS
    return Page(rows=rows, after=None if is_last else Place(rows[-1].last, rows[-1].actor, rows[-1].session))


def _after(moment: datetime) -> datetime:
    return moment + timedelta(microseconds=1)


def _statement(asked: Asked, after: Place | None) -> Select[Any]:
    started, actor, session = (
        interceptions.c.started_at,
        interceptions.c.initiator_id,
        interceptions.c.client_session_id,
    )
    grouped = (
        select(
            actor.label("actor"),
            session.label("session"),
            func.max(interceptions.c.client).label("client"),
            func.count().label("requests"),
            func.sum(case((interceptions.c.status == "failed", 1), else_=0)).label("failed"),
            func.min(started, type_=Moment()).label("first"),
            func.max(started, type_=Moment()).label("last"),
        )
        .where(*asked.where(), session.is_not(None))
        .group_by(actor, session)
        .subquery()
    )
    place = tuple_(grouped.c.last, grouped.c.actor, grouped.c.session)
    statement = select(grouped).order_by(*(column.desc() for column in place.clauses))
    return statement.where(place < tuple_(*after, types=[Moment(), Text(), Text()])) if after else statement


def _tokens(connection: Connection, asked: Asked, keys: Sequence[_Key]) -> defaultdict[_Key, Tokens]:
    actor, session = interceptions.c.initiator_id, interceptions.c.client_session_id
    groups = [actor.label("actor"), session.label("session")]
    these = [actor.in_({actor for actor, _ in keys}), session.in_({session for _, session in keys})]
    statement = money.statement(groups, asked.since, asked.until, *asked.where(), *these)
    found: defaultdict[_Key, Tokens] = defaultdict(Tokens)
    for row in connection.execute(statement) if keys else ():
        found[row.actor, row.session].add(money.tokens(row))
    return found
