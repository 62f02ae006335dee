"""Deleting from PostgreSQL: a month of which everything is to go is dropped, the rest goes in small transactions."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Select,
    Table,
    and_,
    delete,
    exists,
    false,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.exc import DBAPIError

from sidecar.recorder.batches import CHILDREN, INTERCEPTIONS, TABLES
from sidecar.recorder.erasure import Counts, Pace, Pause, Progress, Scope, first_id, nobody, sweep
from sidecar.recorder.erasure.months import belated, count, dropped, expired, there
from sidecar.recorder.postgres.connection import engine, told
from sidecar.recorder.schema import interceptions, metadata
from sidecar.settings import Recorder

T = TypeVar("T")
_Found = tuple[Any, str]  # a time, an id

AT_ONCE: Final = 500  # interceptions in a transaction, at most
GOAL: Final = 0.25  # seconds that one should last: no writer waits for it
GIVING_WAY: Final = 1  # times as long as that nothing is done, so that half of a processor and disk are others'
_BEGIN: Final = "SELECT set_config('lock_timeout', '200ms', true), set_config('statement_timeout', '300s', true)"
_MINE: Final = "SELECT pg_try_advisory_xact_lock(1634296434, 4)"  # the others are in `postgres.months`
_BUSY: Final = frozenset({"55P03", "40P01", "40001"})  # a lock not available, a deadlock, a serialization failure
_GENTLY: Final = "SET vacuum_cost_delay = '2ms'"  # as autovacuum does
_NOT_VACUUMED: Final = "deleted text stays in PostgreSQL's files until it is vacuumed, which was not possible now"

_children: Final = [metadata.tables[table] for table in CHILDREN]
_ended: Final = interceptions.c.ended_at.is_not(None)


class Taken(Exception):
    """Another bridge is deleting."""


class PostgresErasure:
    """One database's. See `Erasure`."""

    def __init__(self, recorder: Recorder, *, yields: bool = False, limit: float | None = None) -> None:
        """`yields`: give up where another bridge is deleting, instead of waiting for it.

        `limit`: seconds after which a connection is cut. Raises `BadSetting`.
        """
        self._recorder = recorder
        self._engine = engine(recorder, limit=limit)
        self._yields = yields

    def count(self, scope: Scope) -> Counts:
        """What would go."""
        with self._connected() as connection, connection.begin():
            end = expired(self._engine, connection, scope)
            gone = or_(_ended, interceptions.c.started_at < end if end else false())
            owners = select(interceptions.c.id).where(_within(scope), gone)
            rows = Counter({INTERCEPTIONS: count(connection, interceptions, _within(scope), gone)})
            for table in _children:
                rows[table.name] = count(connection, table, table.c.interception_id.in_(owners))
                rows[table.name] += count(connection, table, _is_orphan(table, scope))
            return Counts(rows=+rows, left=count(connection, interceptions, _within(scope), ~gone))

    def erase(self, scope: Scope, pause: Pause, progress: Progress = nobody) -> Counts:
        """Delete it."""
        pace = Pace(AT_ONCE, pause, goal=GOAL, giving_way=GIVING_WAY)
        gone: Counter[str] = Counter()
        with self._connected() as connection:
            with suppress(Taken):
                for part in self._parts(connection, scope, pace, progress):
                    gone += part
            with connection.begin():
                left = count(connection, interceptions, _within(scope), ~_ended)
        return Counts(rows=gone, left=left)

    def settle(self, pause: Pause, *, rewrite: bool = False) -> str:  # noqa: ARG002 - there is nothing to wait for
        """VACUUM, which takes deleted rows out of the files' pages; what is archived of PostgreSQL's log knows more."""
        warnings: list[object] = []
        with self._connected() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            driver: Any = connection.connection.driver_connection
            driver.add_notice_handler(warnings.append)
            try:
                connection.exec_driver_sql(_GENTLY)
                connection.exec_driver_sql(f"VACUUM (SKIP_LOCKED) {', '.join(TABLES)}")
            except DBAPIError as error:
                warnings.append(error)
        return _NOT_VACUUMED if warnings else ""

    def opened(self, scope: Scope) -> list[str]:
        """The interceptions of this scope that are open here."""
        with self._connected() as connection:
            return list(connection.execute(select(interceptions.c.id).where(_within(scope), ~_ended)).scalars())

    def forget(self, ids: Sequence[str], pause: Pause) -> Counts:
        """Delete these interceptions, open or not: they have ended elsewhere."""
        pace = Pace(AT_ONCE, pause, goal=GOAL, giving_way=GIVING_WAY)
        gone: Counter[str] = Counter()
        with self._connected() as connection:
            for start in range(0, len(ids), AT_ONCE):
                gone += self._delete(connection, pace, ids[start : start + AT_ONCE])
        return Counts(rows=gone)

    def close(self) -> None:
        """Let go of the connection."""
        self._engine.dispose()

    def _parts(self, connection: Connection, scope: Scope, pace: Pace, progress: Progress) -> Iterator[Counter[str]]:
        yield self._months(connection, scope, pace, progress)
        yield sweep(partial(self._found, connection, scope), partial(self._delete, connection, pace), pace, progress)
        for table in _children if scope.actor is None else ():
            find, remove = partial(self._orphans, connection, table, scope), partial(self._cut, connection, pace, table)
            yield sweep(find, remove, pace)

    def _months(self, connection: Connection, scope: Scope, pace: Pace, progress: Progress) -> Counter[str]:
        with connection.begin():
            end = expired(self._engine, connection, scope)
        if end is None:
            return Counter()
        gone = self._tried(connection, pace, lambda: belated(connection, end)) or Counter()
        with connection.begin():
            rows = there(connection, end)
        if not pace.stopped and dropped(self._engine, end):
            gone += rows
            progress(rows[INTERCEPTIONS])
        return gone

    def _found(self, connection: Connection, scope: Scope, last: _Found | None, size: int) -> Sequence[_Found]:
        key = tuple_(interceptions.c.started_at, interceptions.c.id)
        further = key > tuple_(*last) if last else true()
        query = select(interceptions.c.started_at, interceptions.c.id).where(_within(scope), _ended, further)
        return _page(connection, query.order_by(interceptions.c.started_at, interceptions.c.id).limit(size))

    def _orphans(
        self, connection: Connection, table: Table, scope: Scope, last: _Found | None, size: int
    ) -> Sequence[_Found]:
        further = table.c.id > last[1] if last else true()
        query = select(table.c.created_at, table.c.id).where(_is_orphan(table, scope), further)
        return _page(connection, query.order_by(table.c.id).limit(size))

    def _delete(self, connection: Connection, pace: Pace, ids: Sequence[str]) -> Counter[str]:
        statements = {table.name: delete(table).where(table.c.interception_id.in_(ids)) for table in _children}
        statements[INTERCEPTIONS] = delete(interceptions).where(interceptions.c.id.in_(ids))
        return self._run(connection, pace, statements)

    def _cut(self, connection: Connection, pace: Pace, table: Table, ids: Sequence[str]) -> Counter[str]:
        return self._run(connection, pace, {table.name: delete(table).where(table.c.id.in_(ids))})

    def _run(self, connection: Connection, pace: Pace, statements: Mapping[str, Delete]) -> Counter[str]:
        def together() -> Counter[str]:
            return Counter({name: connection.execute(statement).rowcount for name, statement in statements.items()})

        began = time.monotonic()
        gone = self._tried(connection, pace, together)
        if gone is None:
            return Counter()
        pace.give_way(began, time.monotonic())
        return gone

    def _tried(self, connection: Connection, pace: Pace, action: Callable[[], T]) -> T | None:
        """What it returns, in a transaction, once nobody is in the way; None when told to stop. Raises `Taken`."""
        while True:
            try:
                with connection.begin():
                    connection.exec_driver_sql(_BEGIN)
                    if connection.exec_driver_sql(_MINE).scalar_one():
                        return action()
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _BUSY:
                    raise
            else:
                if self._yields:
                    raise Taken
            if not pace.try_again():
                return None

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise told(self._recorder, error) from None


def _page(connection: Connection, query: Select[Any]) -> Sequence[_Found]:
    with connection.begin():
        return [(row[0], row[1]) for row in connection.execute(query)]


def _within(scope: Scope) -> ColumnElement[bool]:
    return and_(
        interceptions.c.started_at < scope.before if scope.before else true(),
        interceptions.c.initiator_id == scope.actor if scope.actor is not None else true(),
    )


def _is_orphan(table: Table, scope: Scope) -> ColumnElement[bool]:
    if scope.before is None or scope.actor is not None:
        return false()
    # Ids begin with the time of their making: of what is that old little is left but what this looks for.
    old = and_(table.c.created_at < scope.before, table.c.id < first_id(scope.before.timestamp()))
    return and_(old, ~exists().where(interceptions.c.id == table.c.interception_id))
