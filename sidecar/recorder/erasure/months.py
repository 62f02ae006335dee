"""The months in PostgreSQL that go as a whole, because everything in them started before the day that is asked for."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, Table, delete, func, or_, select
from sqlalchemy.exc import DBAPIError

from sidecar.recorder.batches import CHILDREN, INTERCEPTIONS
from sidecar.recorder.erasure import Scope
from sidecar.recorder.postgres.connection import FORBIDDEN
from sidecar.recorder.postgres.months import drop_months, following, months
from sidecar.recorder.schema import interceptions, metadata

# An interception that has been open for longer is taken for one of a host that is gone for good: it goes with its
# month. One that is younger keeps its month, in which the others go one by one.
LOST: Final = timedelta(days=7)
_LOCKED: Final = "55P03"

_children: Final = [metadata.tables[table] for table in CHILDREN]


def expired(engine: Engine, connection: Connection, scope: Scope) -> datetime | None:
    """Everything before this moment, the first of a month (UTC), goes by the month; None if no whole month does."""
    before = scope.before
    if before is None or scope.actor is not None:
        return None
    alive = select(func.min(interceptions.c.started_at)).where(
        interceptions.c.ended_at.is_(None),
        interceptions.c.started_at < before,
        interceptions.c.started_at > func.now() - LOST,
    )
    day = min(before, connection.execute(alive).scalar_one() or before).astimezone(UTC).date()
    first = day.replace(day=1)
    return _start(first) if any(following(month) <= first for _, month in months(engine)) else None


def belated(connection: Connection, end: datetime) -> Counter[str]:
    """Delete what belongs to an interception of the months before `end` and came in a later one; returns how much."""
    owners = select(interceptions.c.id).where(
        interceptions.c.started_at < end, or_(interceptions.c.ended_at >= end, interceptions.c.ended_at.is_(None))
    )
    gone: Counter[str] = Counter()
    for table in _children:
        late = delete(table).where(table.c.created_at >= end, table.c.interception_id.in_(owners))
        gone[table.name] = connection.execute(late).rowcount
    return gone


def there(connection: Connection, end: datetime) -> Counter[str]:
    """How many rows the months before `end` have."""
    rows = Counter({INTERCEPTIONS: count(connection, interceptions, interceptions.c.started_at < end)})
    for table in _children:
        rows[table.name] = count(connection, table, table.c.created_at < end)
    return rows


def dropped(engine: Engine, end: datetime) -> bool:
    """Drop the months before `end`. False where the role may not, or somebody reads on and on: they go by the row."""
    try:
        drop_months(engine, end.date())
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in {FORBIDDEN, _LOCKED}:
            raise
        return False
    return True


def count(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> int:
    """How many rows satisfy them all."""
    return connection.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one()


def _start(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
