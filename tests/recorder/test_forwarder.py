"""From the journal to a store, whatever becomes of either."""

import fcntl
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from sidecar.recorder.batches import INTERCEPTIONS, TABLES, Batch, Store, StoreUnavailable
from sidecar.recorder.forwarder import FIRST_PAUSE, IDLE, LONGEST_PAUSE, Bounds, Forwarder
from sidecar.recorder.journal.backlog import Backlog
from sidecar.recorder.journal.turns import turn
from sidecar.recorder.sqlite_store import SqliteStore
from tests.recorder.journal_samples import Logged, ended, prompt, started, table, whole
from tests.recorder.test_backlog import keep

ROOMY = Bounds(journal=2**40, drops=False)


@dataclass
class Seen:
    """What an operator sees."""

    backlogs: list[tuple[int, float, int]] = field(default_factory=list)
    forwarded_ones: int = 0
    failures: int = 0
    dropped_ones: int = 0
    unfit_ones: int = 0

    def backlog(self, *, interceptions: int, oldest_seconds: float, size: int) -> None:
        self.backlogs.append((interceptions, oldest_seconds, size))

    def forwarded(self, interceptions: int) -> None:
        self.forwarded_ones += interceptions

    def failed(self) -> None:
        self.failures += 1

    def dropped(self, interceptions: int) -> None:
        self.dropped_ones += interceptions

    def unfit(self, records: int) -> None:
        self.unfit_ones += records


@dataclass
class Clock:
    """Time that passes while somebody pauses, and an end after so many pauses. `meanwhile` happens in each."""

    pauses: int
    at: float = 1_000_000_000.0
    paused: list[float] = field(default_factory=list)
    meanwhile: Callable[[int], None] = lambda _: None

    def now(self) -> float:
        return self.at

    def pause(self, seconds: float) -> bool:
        self.meanwhile(len(self.paused))
        self.paused.append(seconds)
        self.at += seconds
        return len(self.paused) >= self.pauses


class Away:
    """A store that is away so many times; then it is the one behind it."""

    def __init__(self, store: Store, times: int) -> None:
        self._store = store
        self._times = times
        self.put_batches: list[Batch] = []

    def put(self, batch: Batch) -> frozenset[str]:
        self.put_batches.append(batch)
        if self._times > 0:
            self._times -= 1
            msg = "the store is away"
            raise StoreUnavailable(msg)
        return self._store.put(batch)

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def target(fresh: Path, tmp_path: Path) -> Path:
    """Another database, as the store."""
    there = tmp_path / "target.db"
    there.write_bytes(fresh.read_bytes())
    return there


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def backlog(database: Path) -> Iterator[Backlog]:
    with closing(Backlog(database)) as opened:
        yield opened


def forwarder(
    database: Path, store: Callable[[], Store], seen: Seen, clock: Clock, bounds: Bounds = ROOMY
) -> Forwarder:
    return Forwarder(database, store=store, bounds=bounds, gauges=seen, now=clock.now, pause=clock.pause)


def rows(database: Path) -> dict[str, list[dict[str, object]]]:
    return {name: table(database, name) for name in TABLES}


def test_what_has_ended_is_moved_as_it_stands(database: Path, target: Path, seen: Seen) -> None:
    for number in range(3):
        keep(database, started(f"i-{number}"), *whole(f"i-{number}"))
    before = rows(database)
    forwarder(database, lambda: SqliteStore(target), seen, Clock(2)).run()
    assert rows(target) == before
    assert rows(database) == {name: [] for name in TABLES}
    assert seen.forwarded_ones == 3
    assert seen.failures == 0


def test_an_outage_loses_nothing_and_doubles_nothing(database: Path, target: Path, seen: Seen, logged: Logged) -> None:
    """Nothing is deleted before it is acknowledged; the same batch comes again."""
    keep(database, started("i-1"), *whole("i-1"))
    before = rows(database)
    away = Away(SqliteStore(target), 3)
    forwarder(database, lambda: away, seen, Clock(30)).run()
    assert rows(target) == before
    assert (seen.failures, seen.forwarded_ones) == (3, 1)
    assert logged()["event"] == "records cannot be forwarded, they are kept and tried again"
    assert logged()["event"] == "records are forwarded again"


def test_what_waits_is_watched_while_another_has_the_turn(database: Path, target: Path, seen: Seen) -> None:
    """A purge; the journal is measured, and nothing has failed."""
    keep(database, started("i-1"), *whole("i-1"))
    with turn(database):
        forwarder(database, lambda: SqliteStore(target), seen, Clock(50)).run()
    assert (seen.forwarded_ones, seen.failures) == (0, 0)
    assert [one for one, _, _ in seen.backlogs][1:] == [1] * (len(seen.backlogs) - 1)
    assert len(seen.backlogs) > 2
    forwarder(database, lambda: SqliteStore(target), seen, Clock(2)).run()
    assert seen.forwarded_ones == 1


def test_who_died_before_the_deletion_is_followed_by_one_who_repeats(
    database: Path, target: Path, seen: Seen, backlog: Backlog
) -> None:
    """The store has the rows, the journal too: what SIGKILL leaves at the worst moment."""
    keep(database, started("i-1"), *whole("i-1"))
    with closing(SqliteStore(target)) as store:
        store.put(backlog.ended())
    before = rows(target)
    forwarder(database, lambda: SqliteStore(target), seen, Clock(2)).run()
    assert rows(target) == before
    assert rows(database) == {name: [] for name in TABLES}


def test_the_pauses_of_an_outage_grow_vary_and_have_an_end(
    database: Path, target: Path, seen: Seen, logged: Logged
) -> None:
    """A fleet whose store comes back must not come back as one."""
    random.seed(7)
    keep(database, started("i-1"), ended("i-1"))
    clock = Clock(10_000)
    tries: list[float] = []

    class Never(Away):
        def put(self, batch: Batch) -> frozenset[str]:
            tries.append(clock.at)
            clock.pauses = 0 if len(tries) == 12 else clock.pauses
            return super().put(batch)

    forwarder(database, lambda: Never(SqliteStore(target), 10_000), seen, clock).run()
    gaps = [later - earlier for earlier, later in pairwise(tries)][:-1]  # told to stop, it tries once more at once
    assert FIRST_PAUSE / 2 <= gaps[0] <= FIRST_PAUSE
    assert all(LONGEST_PAUSE / 2 <= gap <= LONGEST_PAUSE for gap in gaps[7:])
    assert len({round(gap, 3) for gap in gaps[7:]}) > 1
    assert logged()["reason"] == "the store is away"


def test_one_that_stays_open_is_shown_early_and_ended_later(database: Path, target: Path, seen: Seen) -> None:
    """A stream may take an hour, and its host be lost for good meanwhile: that somebody asked is known elsewhere."""
    clock = Clock(80)
    keep(database, started("i-1", at=clock.at))

    def meanwhile(count: int) -> None:
        if count == 40:  # eight seconds later
            [there] = table(target, INTERCEPTIONS)
            assert (there["ended_at"], there["open_prompt"]) == (None, "hello")
            keep(database, *whole("i-1"))

    clock.meanwhile = meanwhile
    away = Away(SqliteStore(target), 0)
    forwarder(database, lambda: away, seen, clock).run()
    [there] = table(target, INTERCEPTIONS)
    assert (there["status"], there["open_prompt"]) == ("completed", None)
    assert [len(rows) for rows in rows(target).values()] == [1] * len(TABLES)
    assert len(away.put_batches) == 2  # shown once, ended once


def test_what_the_store_cannot_hold_stays_and_its_neighbours_go(
    database: Path, target: Path, seen: Seen, logged: Logged
) -> None:
    keep(database, started("i-1"), *whole("i-1"), started("i-2"), *whole("i-2"))

    class Picky(SqliteStore):
        def put(self, batch: Batch) -> frozenset[str]:
            [bad] = [str(row[0]) for row in batch.rows.get("user_prompts", ()) if row[1] == "i-1"] or [""]
            super().put(batch)
            return frozenset({bad} - {""})

    forwarder(database, lambda: Picky(target), seen, Clock(5)).run()
    assert [row["id"] for row in table(database, INTERCEPTIONS)] == ["i-1"]
    assert len(table(database, "user_prompts")) == 1
    assert seen.unfit_ones == 1
    assert logged()["interception"] == "i-1"


def test_a_store_that_cannot_be_made_yet_is_asked_again(
    database: Path, target: Path, seen: Seen, logged: Logged
) -> None:
    """PostgreSQL may start after the bridge."""
    keep(database, started("i-1"), ended("i-1"))
    tries = iter([False, False, True])

    def make() -> Store:
        if not next(tries, True):
            msg = "store postgresql://h/d: connection refused"
            raise StoreUnavailable(msg)
        return SqliteStore(target)

    forwarder(database, make, seen, Clock(20)).run()
    assert [row["id"] for row in table(target, INTERCEPTIONS)] == ["i-1"]
    assert (logged()["level"], logged()["level"]) == ("warning", "warning")


def test_a_journal_in_trouble_is_tried_again(database: Path, target: Path, seen: Seen, logged: Logged) -> None:
    keep(database, started("i-1"), ended("i-1"))
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("ALTER TABLE tool_usages RENAME TO away")
        connection.commit()

    def meanwhile(count: int) -> None:
        if count == 1:
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("ALTER TABLE away RENAME TO tool_usages")
                connection.commit()

    clock = Clock(20)
    clock.meanwhile = meanwhile
    forwarder(database, lambda: SqliteStore(target), seen, clock).run()
    assert [row["id"] for row in table(target, INTERCEPTIONS)] == ["i-1"]
    assert logged()["reason"] == "journal: SQLITE_ERROR"
    logged()


def test_a_journal_in_trouble_is_opened_anew(database: Path, target: Path, seen: Seen, logged: Logged) -> None:
    """An old connection would go on finding it to be read-only."""
    keep(database, started("i-1"), *whole("i-1"))
    with closing(Backlog(database)) as backlog, closing(SqliteStore(target)) as store:
        backlog.close()
        forwards = forwarder(database, lambda: store, seen, Clock(10))
        assert [forwards.step(backlog), forwards.step(backlog)] == [0, 1]
    assert logged()["reason"] == "journal: ProgrammingError"
    assert logged()["event"] == "records are forwarded again"


def test_a_journal_that_cannot_be_opened_is_waited_for(
    tmp_path: Path, fresh: Path, target: Path, seen: Seen, logged: Logged
) -> None:
    late = tmp_path / "late.db"

    def meanwhile(count: int) -> None:
        if count == 1:
            late.write_bytes(fresh.read_bytes())
            keep(late, started("i-1"), ended("i-1"))

    clock = Clock(20)
    clock.meanwhile = meanwhile
    forwarder(late, lambda: SqliteStore(target), seen, clock).run()
    assert [row["id"] for row in table(target, INTERCEPTIONS)] == ["i-1"]
    assert logged()["reason"] == "journal: SQLITE_CANTOPEN"
    logged()


def test_told_to_stop_while_the_journal_is_away_it_stops(
    tmp_path: Path, target: Path, seen: Seen, logged: Logged
) -> None:
    clock = Clock(1)
    forwarder(tmp_path / "none.db", lambda: SqliteStore(target), seen, clock).run()
    assert len(clock.paused) == 1
    logged()


def test_told_to_stop_it_forwards_what_is_there_first(database: Path, target: Path, seen: Seen) -> None:
    """The last records come when the workers have ended, just before the keeper does."""
    clock = Clock(1)
    clock.meanwhile = lambda _: keep(database, started("i-1"), *whole("i-1"))
    forwarder(database, lambda: SqliteStore(target), seen, clock).run()
    assert [row["id"] for row in table(target, INTERCEPTIONS)] == ["i-1"]


def test_a_quiet_journal_is_looked_at_now_and_then(database: Path, target: Path, seen: Seen) -> None:
    clock = Clock(3)
    forwarder(database, lambda: SqliteStore(target), seen, clock).run()
    assert clock.paused == [IDLE] * 3


def test_how_much_waits_and_since_when_is_shown_also_in_an_outage(
    database: Path, target: Path, seen: Seen, logged: Logged
) -> None:
    clock = Clock(60)
    keep(database, started("i-1", at=clock.at - 10), ended("i-1"), started("i-2", at=clock.at), ended("i-2"))
    forwarder(database, lambda: Away(SqliteStore(target), 10_000), seen, clock).run()
    logged()
    count, age, size = seen.backlogs[-1]
    assert count == 2
    assert age == pytest.approx(clock.at - 1_000_000_000.0 + 10, abs=2)
    assert size > 4096
    assert len(seen.backlogs) > 20  # about once a second, however long the pauses between two tries are


def test_a_clock_that_is_set_back_stops_neither_looking_nor_dropping(
    database: Path, target: Path, seen: Seen, logged: Logged
) -> None:
    """Else a journal would grow for as long as the clock was set back."""
    for number in range(100, 400):
        keep(database, started(f"i-{number}"), prompt(f"i-{number}", "x" * 10_000), ended(f"i-{number}"))
    clock = Clock(5)
    bounds = Bounds(journal=2**40, drops=True)
    forwards = forwarder(database, lambda: Away(SqliteStore(target), 10_000), seen, clock, bounds)
    forwards.run()
    looked = len(seen.backlogs)
    clock.pauses, clock.at = 10, clock.at - 86_400.0
    forwards.run()
    assert len(seen.backlogs) >= looked + 4
    logged()


def test_a_full_journal_drops_its_oldest_where_it_was_told_to(
    database: Path, target: Path, seen: Seen, logged: Logged
) -> None:
    """Not otherwise: then new requests are refused instead."""
    for number in range(100, 400):
        keep(database, started(f"i-{number}"), prompt(f"i-{number}", "x" * 10_000), ended(f"i-{number}"))
    away = Away(SqliteStore(target), 10_000)
    forwarder(database, lambda: away, seen, Clock(5), Bounds(journal=2_000_000, drops=False)).run()
    assert len(table(database, INTERCEPTIONS)) == 300
    logged()
    forwarder(database, lambda: away, seen, Clock(5), Bounds(journal=2_000_000, drops=True)).run()
    assert len(table(database, INTERCEPTIONS)) == 100
    assert table(database, INTERCEPTIONS)[0]["id"] == "i-300"
    assert seen.dropped_ones == 200
    assert {logged()["level"], logged()["level"]} == {"warning", "error"}


def test_a_purge_has_its_turn_between_two_batches(database: Path, target: Path, seen: Seen) -> None:
    """What it deletes must not be on its way."""
    keep(database, started("i-1"), *whole("i-1"))
    locked: list[bool] = []

    class Looking(SqliteStore):
        def put(self, batch: Batch) -> frozenset[str]:
            with (database.parent / f"{database.name}.forwarding.lock").open("rb") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    locked.append(True)
            return super().put(batch)

    forwarder(database, lambda: Looking(target), seen, Clock(3)).run()
    assert locked == [True]
