import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.recorder.batches import TABLES
from sidecar.recorder.erasure.retention import EVERY, keep
from sidecar.recorder.journal.migration import migrate
from sidecar.recorder.postgres.store import PostgresStore
from sidecar.recorder.postgres.store import migrate as migrate_postgres
from sidecar.recorder.sqlite_store import SqliteStore
from sidecar.settings import Recorder, Settings
from tests.e2e.waiting import PATIENCE
from tests.postgres import Postgres
from tests.recorder import journal_samples as samples
from tests.recorder import postgres_samples
from tests.recorder.aged import DAY, interception, together
from tests.recorder.journal_samples import Logged

WEEK = timedelta(days=7)
MOMENT = timedelta(microseconds=1)
SAMPLES = together(interception("old", DAY - WEEK - MOMENT), interception("week-old", DAY - WEEK))
GONE = {"event": "records too old deleted", "level": "info", "before": "2021-03-08 00:00:00+00:00"}


def settings(url: str, journal: Path | None = None, days: int = 7) -> Settings:
    return Settings(recorder=Recorder(url=url, retention_days=days, journal=journal))


def local(database: Path, days: int = 7) -> Settings:
    return settings(f"sqlite:///{database}", days=days)


@contextmanager
def kept(settings: Settings) -> Iterator[threading.Event]:
    """The loop on a thread, as it is run, on the samples' day. Ended as it is ended."""
    stop = threading.Event()
    thread = threading.Thread(target=keep, args=(settings, stop, DAY.timestamp))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def put(database: Path) -> None:
    with closing(SqliteStore(database)) as store:
        store.put(SAMPLES)


def names(database: Path) -> list[object]:
    return [row["id"] for row in samples.table(database, "interceptions")]


def test_what_is_older_than_so_many_days_is_deleted_at_once(database: Path, logged: Logged) -> None:
    """And told in one line, without a word of what it was."""
    put(database)
    with kept(local(database)):
        assert logged() == GONE | dict.fromkeys(TABLES, 1)
    assert names(database) == ["week-old"]


@pytest.mark.usefixtures("logged")
def test_where_nothing_is_too_old_nothing_is_told(database: Path) -> None:
    put(database)
    stop = threading.Event()

    def earlier() -> float:
        stop.set()  # so that it is the only round
        return (DAY - WEEK).timestamp()

    keep(local(database), stop, earlier)
    assert names(database) == ["old", "week-old"]


class Rounds(threading.Event):
    """The order to stop, after the last round. `clock`: how far it is from the samples' day, at first and then."""

    def __init__(self, *clock: timedelta) -> None:
        super().__init__()
        self._clock = list(clock)
        self._passed = 0.0

    def now(self) -> float:
        return (DAY + self._clock.pop(0)).timestamp() + self._passed

    def steady(self) -> float:
        return self._passed

    def wait(self, timeout: float | None = None) -> bool:
        if timeout == EVERY:
            self._passed += EVERY
            if not self._clock:
                self.set()
        return self.is_set()


BEFORE, YEAR = -WEEK, timedelta(days=366)  # when nothing is too old yet, and when all is
AHEAD = {"event": "the clock was set forward, nothing is deleted for an hour", "level": "warning"}


@pytest.mark.parametrize("then", [(YEAR,), (YEAR, BEFORE), (BEFORE, YEAR, BEFORE), (BEFORE, BEFORE, YEAR, -YEAR)])
def test_a_clock_that_is_a_year_ahead_for_a_moment_deletes_nothing(
    database: Path, logged: Logged, then: tuple[timedelta, ...]
) -> None:
    put(database)
    rounds = Rounds(BEFORE, *then)
    keep(local(database), rounds, rounds.now, rounds.steady)
    assert logged() == AHEAD | {"seconds": (YEAR - BEFORE).total_seconds()}
    assert names(database) == ["old", "week-old"]


@pytest.mark.parametrize("then", [(YEAR, YEAR), (BEFORE, YEAR, YEAR), (YEAR, YEAR, BEFORE)])
def test_a_clock_that_stays_a_year_ahead_is_believed_an_hour_later(
    database: Path, logged: Logged, then: tuple[timedelta, ...]
) -> None:
    put(database)
    rounds = Rounds(BEFORE, *then)
    keep(local(database), rounds, rounds.now, rounds.steady)
    assert [logged()["event"], logged()["event"]] == [AHEAD["event"], GONE["event"]]
    assert names(database) == []


@pytest.mark.parametrize("clock", [(timedelta(minutes=-59), MOMENT), (YEAR, MOMENT), (MOMENT, MOMENT)])
def test_a_clock_that_is_minutes_ahead_or_set_back_or_right_is_believed_at_once(
    database: Path, logged: Logged, clock: tuple[timedelta, ...]
) -> None:
    put(database)
    rounds = Rounds(*clock)
    keep(local(database), rounds, rounds.now, rounds.steady)
    assert logged()["event"] == GONE["event"]
    assert names(database) == []


def test_who_keeps_records_for_ever_has_nothing_to_wait_for() -> None:
    keep(settings("sqlite:///nowhere.db", days=0), threading.Event(), DAY.timestamp)


def test_a_store_out_of_reach_is_told_once_and_tried_again(
    tmp_path: Path, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.recorder.erasure.retention.AGAIN", 0.01)
    database = tmp_path / "journal.db"
    with kept(local(database)):
        assert logged() == {
            "event": "records too old could not be deleted, it is tried again",
            "level": "warning",
            "reason": f"journal {database}: there is no such file",
        }
        migrate(tmp_path / "new.db")
        put(tmp_path / "new.db")
        (tmp_path / "new.db").rename(database)
        assert logged() == GONE | dict.fromkeys(TABLES, 1)


def test_in_postgresql_and_in_the_journal_before_it(database: Path, fresh_database: str, logged: Logged) -> None:
    """The journal may hold what the store could not take."""
    recorder = postgres_samples.recorder(fresh_database)
    migrate_postgres(recorder)
    with closing(PostgresStore(recorder)) as store:
        store.put(SAMPLES)
    put(database)
    with kept(settings(fresh_database, journal=database)):
        assert logged() == GONE | dict.fromkeys(TABLES, 2)
    assert names(database) == postgres_samples.ids(fresh_database, "interceptions") == ["week-old"]


def test_a_postgresql_that_is_not_there_is_told_without_its_password(
    tmp_path: Path, postgres: Postgres, logged: Logged
) -> None:
    url = postgres.url("nowhere")
    with kept(settings(url, journal=tmp_path / "none.db")):
        entry = logged()
    assert str(entry["reason"]).startswith("store postgresql://postgres@127.0.0.1:")
    assert postgres.password not in str(entry)
