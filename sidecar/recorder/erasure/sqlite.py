"""Deleting from a journal, beside those who write to it.

What goes is looked up by reading, which keeps nobody out; only its deletion, of a few interceptions, is a transaction.
"""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from sidecar.recorder.batches import CHILDREN, INTERCEPTIONS
from sidecar.recorder.erasure import Counts, Pace, Pause, Progress, Scope, first_id, nobody, sweep
from sidecar.recorder.journal.connection import check, connect, unavailable, used
from sidecar.recorder.rows import moment

T = TypeVar("T")
_Found = tuple[str, str]  # a time, an id

AT_ONCE: Final = 100  # interceptions in a transaction, at most
SMALL: Final = 16_777_216  # bytes in use that are rewritten in less time than a request waits for its start's commit
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_TRIES: Final = 20  # at a write-ahead log that a reader still needs

# S608: names from the schema alone; the values are bound. `before` is beyond every time, or `actor` NULL, for no limit.
_SCOPE = "started_at < :before AND (:actor IS NULL OR initiator_id = :actor)"
_ENDED = f"{_SCOPE} AND ended_at IS NOT NULL"
_FIND = (
    f"SELECT started_at, id FROM interceptions WHERE {_ENDED} AND (started_at, id) > (:after_time, :after_id) "  # noqa: S608
    "ORDER BY started_at, id LIMIT :size"
)
_COUNT = f"SELECT count(*), count(ended_at) FROM interceptions WHERE {_SCOPE}"  # noqa: S608
_COUNT_CHILDREN = {
    table: f"SELECT count(*) FROM {table} WHERE interception_id IN (SELECT id FROM interceptions WHERE {_ENDED})"  # noqa: S608
    for table in CHILDREN
}
# Ids begin with the time of their making: of what is that old little is left but what these look for.
_ORPHANS = (
    "id < :before_id AND id > :after_id AND created_at < :before "
    "AND NOT EXISTS (SELECT 1 FROM interceptions WHERE id = child.interception_id)"
)
_FIND_ORPHANS = {
    table: f"SELECT created_at, id FROM {table} AS child WHERE {_ORPHANS} ORDER BY id LIMIT :size"  # noqa: S608
    for table in CHILDREN
}
_COUNT_ORPHANS = {table: f"SELECT count(*) FROM {table} AS child WHERE {_ORPHANS}" for table in CHILDREN}  # noqa: S608
_THESE = "IN (SELECT value FROM json_each(?))"
_FORGET = {table: f"DELETE FROM {table} WHERE interception_id {_THESE}" for table in CHILDREN} | {  # noqa: S608
    INTERCEPTIONS: f"DELETE FROM interceptions WHERE id {_THESE}"  # noqa: S608
}
_FORGET_ORPHANS = {table: f"DELETE FROM {table} WHERE id {_THESE}" for table in CHILDREN}  # noqa: S608
_FOREVER = ":"  # sorts after every time of the tables


class SqliteErasure:
    """One file's. See `Erasure`."""

    def __init__(self, database: Path) -> None:
        """Raises `JournalUnavailable`."""
        check(database)
        self._database = database
        with self._told():
            self._connection = connect(database)

    def count(self, scope: Scope) -> Counts:
        """What would go."""
        with self._told():
            self._connection.execute("BEGIN")
            try:
                return self._counted(_values(scope), scope)
            finally:
                self._connection.execute("ROLLBACK")

    def erase(self, scope: Scope, pause: Pause, progress: Progress = nobody) -> Counts:
        """Delete it."""
        pace = Pace(AT_ONCE, pause)
        find, delete = partial(self._found, _FIND, scope, pace), partial(self._delete, _FORGET, pace)
        gone = sweep(find, delete, pace, progress)
        for table in CHILDREN if scope.actor is None else ():
            find = partial(self._found, _FIND_ORPHANS[table], scope, pace)
            gone += sweep(find, partial(self._delete, {table: _FORGET_ORPHANS[table]}, pace), pace)
        with self._told():
            left = self._left(_values(scope))
        return Counts(rows=gone, left=left)

    def settle(self, pause: Pause, *, rewrite: bool = False) -> str:
        """What was deleted is overwritten (`connect`); what SQLite once moved about within a page is not."""
        with self._told():
            rewrite = rewrite or used(self._connection) <= SMALL
        pace = Pace(AT_ONCE, pause)
        if rewrite:
            self._tried(lambda: self._connection.execute("VACUUM"), pace)
        if not self._is_cut(pace):
            return f"{self._database}-wal is being read and may hold deleted text until it is next written anew"
        if not rewrite or pace.stopped:
            return f"{self._database} may hold traces of deleted text until it is rewritten (--vacuum)"
        return ""

    def ended(self, ids: Sequence[str]) -> list[str]:
        """Which of these interceptions are here and have ended."""
        query = f"SELECT id FROM interceptions WHERE ended_at IS NOT NULL AND id {_THESE}"  # noqa: S608
        with self._told():
            return [str(found) for (found,) in self._connection.execute(query, (json.dumps(list(ids)),))]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _counted(self, values: dict[str, object], scope: Scope) -> Counts:
        rows = Counter({INTERCEPTIONS: self._one(_COUNT, values)[1]})
        for table in CHILDREN:
            rows[table] = self._one(_COUNT_CHILDREN[table], values)[0]
            if scope.actor is None:
                rows[table] += self._one(_COUNT_ORPHANS[table], values | {"after_id": ""})[0]
        return Counts(rows=+rows, left=self._left(values))

    def _left(self, values: dict[str, object]) -> int:
        every, ended = self._one(_COUNT, values)
        return every - ended

    def _one(self, query: str, values: dict[str, object]) -> tuple[int, ...]:
        return tuple(self._connection.execute(query, values).fetchone())

    def _is_cut(self, pace: Pace) -> bool:
        """Whether all of the write-ahead log is in the file, and the log empty."""
        with self._told():
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # the most of it, keeping nobody out
            for _ in range(_TRIES):
                if not self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    return True
                if not pace.try_again():
                    break
        return False

    def _found(self, query: str, scope: Scope, pace: Pace, last: _Found | None, size: int) -> list[_Found]:
        at, name = last or ("", "")
        values = _values(scope) | {"after_time": at, "after_id": name, "size": size}
        return self._tried(lambda: self._connection.execute(query, values).fetchall(), pace) or []

    def _delete(self, statements: Mapping[str, str], pace: Pace, ids: Sequence[str]) -> Counter[str]:
        began = time.monotonic()
        gone = self._tried(lambda: self._transaction(json.dumps(ids), statements), pace)
        if gone is None:
            return Counter()
        pace.give_way(began, time.monotonic())
        return gone

    def _transaction(self, ids: str, statements: Mapping[str, str]) -> Counter[str]:
        self._connection.execute("BEGIN IMMEDIATE")
        gone = Counter({table: self._connection.execute(sql, (ids,)).rowcount for table, sql in statements.items()})
        self._connection.execute("COMMIT")
        return gone

    def _tried(self, action: Callable[[], T], pace: Pace) -> T | None:
        """What it returns, once nobody is in the way; None when told to stop."""
        while True:
            with self._told():
                try:
                    return action()
                except sqlite3.Error as error:
                    self._roll_back()
                    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY:
                        raise
                if not pace.try_again():
                    return None

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise unavailable(self._database, error) from error


def _values(scope: Scope) -> dict[str, object]:
    if scope.before is None:
        return {"before": _FOREVER, "before_id": "", "actor": scope.actor}
    seconds = scope.before.timestamp()
    return {"before": moment(seconds), "before_id": first_id(seconds), "actor": scope.actor}
