"""One interception: what was asked, thought, called and counted, in its order, and which others belong to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection, Table, func, select

from sidecar.console import money
from sidecar.console.money import Tokens
from sidecar.recorder.schema import interceptions, model_thoughts, token_usages, tool_usages, user_prompts

TEXT: Final = 100_000  # characters of one text that a page shows
CHILDREN: Final = 500  # records of one kind that a page shows
NEAR: Final = timedelta(days=1)  # how far from an interception others are looked for,
NEIGHBOURS: Final = 20_000  # and among how many: no index knows the tool calls
_TEXTS: Final = frozenset({"prompt", "content", "input", "open_prompt", "invocation_error", "error_message"})
_KINDS: Final = (
    ("prompt", user_prompts),
    ("thought", model_thoughts),
    ("tool", tool_usages),
    ("tokens", token_usages),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One record. `row`: its columns; `at`: seconds since the interception's start."""

    kind: str
    at: float
    row: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another interception, tied to this one by a tool call."""

    id: str
    call: str
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """`row`: the interception's columns; `more`: kinds of which there is more than is shown.

    `asked_by`: whose tool call it answers, as far as found; `answered_by`: who brought its tools' output.
    """

    row: Any
    moments: Sequence[Moment]
    more: Sequence[str]
    tokens: Tokens
    asked_by: Other | None
    answered_by: Sequence[Other]

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it is open."""
        return (self.row.ended_at - self.row.started_at).total_seconds() if self.row.ended_at else None


def timeline(connection: Connection, interception: str) -> Timeline | None:
    """None if there is none of this id. Raises SQLAlchemy's `DBAPIError`."""
    these = interceptions.c.id == interception
    row = connection.execute(select(*_columns(interceptions)).where(these)).first()
    if row is None:
        return None
    found = {kind: list(_moments(connection, kind, table, row)) for kind, table in _KINDS}
    shown = (one for rows in found.values() for one in rows[:CHILDREN])
    whole = Tokens()
    for one in _counted(connection, row):
        whole.add(one)
    return Timeline(
        row=row,
        moments=sorted(shown, key=attrgetter("row.created_at", "row.id")),
        more=[kind for kind, rows in found.items() if len(rows) > CHILDREN],
        tokens=whole,
        asked_by=_asked_by(connection, row),
        answered_by=_answered_by(connection, row, [one.row.tool_call_id for one in found["tool"]]),
    )


def _moments(connection: Connection, kind: str, table: Table, row: Any) -> Iterator[Moment]:  # noqa: ANN401 - SQLAlchemy's row
    these = select(*_columns(table)).where(table.c.interception_id == row.id)
    for child in connection.execute(these.order_by(table.c.created_at, table.c.id).limit(CHILDREN + 1)):
        yield Moment(kind=kind, at=(child.created_at - row.started_at).total_seconds(), row=child)


def _counted(connection: Connection, row: Any) -> Iterator[Tokens]:  # noqa: ANN401 - SQLAlchemy's row
    until = row.started_at + timedelta(microseconds=1)
    statement = money.statement([], row.started_at, until, token_usages.c.interception_id == row.id)
    return map(money.tokens, connection.execute(statement))


def _asked_by(connection: Connection, row: Any) -> Other | None:  # noqa: ANN401 - SQLAlchemy's row
    if row.correlating_tool_call_id is None:
        return None
    started = interceptions.c.started_at
    near = (
        select(interceptions.c.id, started, interceptions.c.initiator_id)
        .where(started <= row.started_at, started > row.started_at - NEAR)
        .order_by(started.desc())
        .limit(NEIGHBOURS)
        .subquery()
    )
    call = tool_usages.c.tool_call_id
    found = connection.execute(
        select(near.c.id, call, near.c.started_at)
        .select_from(near.join(tool_usages, tool_usages.c.interception_id == near.c.id))
        .where(near.c.initiator_id == row.initiator_id, near.c.id != row.id, call == row.correlating_tool_call_id)
        .order_by(near.c.started_at.desc())
        .limit(1)
    ).first()
    return Other(id=found.id, call=found.tool_call_id, started_at=found.started_at) if found else None


def _answered_by(connection: Connection, row: Any, calls: Sequence[str | None]) -> Sequence[Other]:  # noqa: ANN401 - SQLAlchemy's row
    if not (known := {call for call in calls if call}):
        return []
    started, call = interceptions.c.started_at, interceptions.c.correlating_tool_call_id
    near = (
        select(interceptions.c.id, started, interceptions.c.initiator_id, call.label("call"))
        .where(started >= row.started_at, started < row.started_at + NEAR)
        .order_by(started)
        .limit(NEIGHBOURS)
        .subquery()
    )
    rows = connection.execute(
        select(near.c.id, near.c.call, near.c.started_at)
        .where(near.c.initiator_id == row.initiator_id, near.c.id != row.id, near.c.call.in_(known))
        .order_by(near.c.started_at)
        .limit(CHILDREN)
    )
    return [Other(id=one.id, call=one.call, started_at=one.started_at) for one in rows]


def _columns(table: Table) -> list[Any]:
    """Of long texts the beginning, and one character more, by which it is known that there is more."""
    return [
        func.substr(column, 1, TEXT + 1).label(column.key) if column.key in _TEXTS else column for column in table.c
    ]
