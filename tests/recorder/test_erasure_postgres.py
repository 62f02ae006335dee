import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from sidecar.recorder.batches import CHILDREN, TABLES, Batch, StoreUnavailable
from sidecar.recorder.erasure import Counts, Scope
from sidecar.recorder.erasure.postgres import PostgresErasure
from sidecar.recorder.postgres.connection import engine
from sidecar.recorder.postgres.months import months
from sidecar.recorder.postgres.store import PostgresStore, migrate
from tests.e2e.waiting import PATIENCE
from tests.postgres import Postgres, execute
from tests.recorder import postgres_samples as samples
from tests.recorder.aged import DAY, child, interception, together

SECOND = timedelta(seconds=1)
MARCH = datetime(2021, 3, 1, tzinfo=UTC)
JANUARY = datetime(2021, 1, 10, tzinfo=UTC)
LOCK = "SELECT pg_advisory_lock(1634296434, 4)"


@pytest.fixture
def url(fresh_database: str) -> str:
    migrate(samples.recorder(fresh_database))
    return fresh_database


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(samples.recorder(url))) as store:
        yield store


@pytest.fixture
def erasure(url: str) -> Iterator[PostgresErasure]:
    with closing(PostgresErasure(samples.recorder(url))) as erasure:
        yield erasure


def on(_seconds: float) -> bool:
    """The pause of somebody who never tires."""
    return False


def there(url: str) -> list[str]:
    """The months of 2021 that there are, before this test's own time."""
    return sorted({f"{month:%Y-%m}" for _, month in months(engine(samples.recorder(url))) if month <= MARCH.date()})


def owners(url: str) -> dict[str, list[str]]:
    """By child table, whose rows are there."""
    return {table: sorted(row["interception_id"] for row in samples.found(url, table)) for table in CHILDREN}


def each(count: int, left: int = 0) -> Counts:
    return Counts(rows=Counter(dict.fromkeys(TABLES, count)), left=left)


def test_whole_months_are_dropped_and_the_rest_goes_by_the_row(
    url: str, store: PostgresStore, erasure: PostgresErasure
) -> None:
    store.put(
        together(
            interception("in January", JANUARY),
            interception("in February", MARCH - timedelta(days=3)),
            interception("into March", MARCH - SECOND, lasted=2 * SECOND),
            interception("in March", DAY - SECOND),
            interception("that day", DAY),
        )
    )
    told: list[int] = []
    assert erasure.count(Scope(before=DAY)) == each(4)
    assert erasure.erase(Scope(before=DAY), on, told.append) == each(4)
    assert told == [3, 1]
    assert there(url) == ["2021-03"]
    assert samples.ids(url, "interceptions") == ["that day"]
    assert owners(url) == {table: ["that day"] for table in CHILDREN}


def test_a_month_that_is_not_over_before_that_day_stays(
    url: str, store: PostgresStore, erasure: PostgresErasure
) -> None:
    store.put(together(interception("old", MARCH - timedelta(days=2)), interception("new", MARCH - SECOND)))
    assert erasure.erase(Scope(before=MARCH - timedelta(days=1)), on) == each(1)
    assert samples.ids(url, "interceptions") == ["new"]


def test_an_actor_s_erasure_drops_no_month(url: str, store: PostgresStore, erasure: PostgresErasure) -> None:
    store.put(together(interception("1", JANUARY, "alice"), interception("2", JANUARY, "bob")))
    assert erasure.erase(Scope(actor="alice", before=DAY), on) == each(1)
    assert there(url) == ["2021-01"]
    assert samples.ids(url, "interceptions") == ["2"]


def test_what_was_left_open_by_a_host_that_is_gone_goes_with_its_month(
    url: str, store: PostgresStore, erasure: PostgresErasure
) -> None:
    """For a week after its start it is believed to be alive. Where the month is not over it stays."""
    store.put(together(interception("gone", JANUARY, lasted=None), interception("open", DAY - SECOND, lasted=None)))
    assert erasure.count(Scope(before=DAY)) == each(1, left=1)
    assert erasure.erase(Scope(before=DAY), on) == each(1, left=1)
    assert samples.ids(url, "interceptions") == ["open"]


def test_a_month_with_an_open_one_that_may_be_alive_is_not_dropped(
    url: str, store: PostgresStore, erasure: PostgresErasure
) -> None:
    """A day that is still to come is asked for, so that the month is over before it."""
    now = datetime.now(UTC)
    store.put(
        together(
            interception("open", now - SECOND, lasted=None),
            interception("ended", now - SECOND),
            interception("in January", JANUARY),
        )
    )
    scope = Scope(before=now + timedelta(days=62))
    assert erasure.count(scope) == each(2, left=1)
    assert erasure.erase(scope, on) == each(2, left=1)
    assert samples.ids(url, "interceptions") == ["open"]
    assert there(url) == []


def test_one_bridge_s_retention_gives_way_to_another_s(url: str, store: PostgresStore) -> None:
    store.put(interception("old", DAY - SECOND))
    with (
        psycopg.connect(url) as another,
        closing(PostgresErasure(samples.recorder(url), yields=True)) as erasure,
    ):
        another.execute(LOCK)
        assert erasure.erase(Scope(before=DAY), on) == Counts()
        assert samples.ids(url, "interceptions") == ["old"]


def test_a_round_of_retention_does_not_wait_for_ever(url: str, store: PostgresStore) -> None:
    """Of a server that stands still it would hear nothing."""
    store.put(interception("old", DAY))
    with psycopg.connect(url) as other, closing(PostgresErasure(samples.recorder(url), limit=1.0)) as erasure:
        other.execute("LOCK TABLE interceptions")
        with pytest.raises(StoreUnavailable, match="closed the connection"):
            erasure.erase(Scope(before=DAY + timedelta(days=1)), on)


@pytest.mark.parametrize("lock", [LOCK, "SELECT 1 FROM interceptions FOR UPDATE"])
def test_a_purge_waits_for_who_is_in_the_way(
    url: str, store: PostgresStore, erasure: PostgresErasure, lock: str
) -> None:
    """A retention, or whoever holds a row."""
    store.put(interception("old", DAY - SECOND))
    pauses: list[float] = []
    with psycopg.connect(url) as another:
        another.execute(lock.encode())

        def pause(seconds: float) -> bool:
            pauses.append(seconds)
            if len(pauses) == 2:
                another.close()
            return False

        assert erasure.erase(Scope(before=DAY), pause) == each(1)
    assert len(pauses) >= 3


def test_a_batch_is_put_while_thousands_go(url: str, store: PostgresStore, erasure: PostgresErasure) -> None:
    """What is put stays, and is put without a failure."""
    store.put(together(*(interception(f"{number:05d}", DAY - SECOND) for number in range(1500))))
    gone: list[Counts] = []
    scope = Scope(before=DAY)
    thread = threading.Thread(target=lambda: gone.append(erasure.erase(scope, threading.Event().wait)))
    thread.start()
    put = 0
    while thread.is_alive():
        assert store.put(interception(f"new-{put}", DAY)) == frozenset()
        put += 1
    thread.join(PATIENCE)
    assert gone == [each(1500)]
    assert samples.ids(url, "interceptions") == sorted(f"new-{number}" for number in range(put))


def test_a_role_that_may_only_delete_drops_no_month_and_deletes_all_the_same(
    url: str, store: PostgresStore, postgres: Postgres
) -> None:
    """Nor may it vacuum, which is told."""
    store.put(together(interception("old", JANUARY), interception("new", DAY)))
    with (
        postgres.role(url, "SELECT, DELETE ON ALL TABLES IN SCHEMA public") as lesser,
        closing(PostgresErasure(samples.recorder(lesser))) as erasure,
    ):
        assert erasure.erase(Scope(before=DAY), on) == each(1)
        assert erasure.settle(on) == (
            "deleted text stays in PostgreSQL's files until it is vacuumed, which was not possible now"
        )
    assert there(url) == ["2021-01", "2021-03"]
    assert samples.ids(url, "interceptions") == ["new"]


def test_after_an_erasure_nothing_of_it_is_left_in_the_pages(
    url: str, store: PostgresStore, erasure: PostgresErasure
) -> None:
    """VACUUM: PostgreSQL's own extension reads every line pointer of the page."""
    store.put(interception("1", DAY, text="what alice asked"))
    erasure.erase(Scope(actor="alice"), on)
    execute(url, "CREATE EXTENSION pageinspect")
    items = "SELECT count(*) FROM heap_page_items(get_raw_page('user_prompts_2021_03', 0)) WHERE t_data IS NOT NULL"
    assert execute(url, items) == [(1,)]
    assert erasure.settle(on) == ""
    assert execute(url, "SELECT pg_relation_size('user_prompts_2021_03')") == [(0,)]


def test_those_that_are_open_are_named_and_can_be_deleted_all_the_same(
    url: str, store: PostgresStore, erasure: PostgresErasure
) -> None:
    orphan = Batch(rows={"user_prompts": [child("user_prompts", "1", DAY)]})
    store.put(together(interception("1", DAY, lasted=None, children=()), interception("2", DAY), orphan))
    assert erasure.opened(Scope(actor="alice")) == ["1"]
    assert erasure.forget(["1"], on) == Counts(rows=Counter(interceptions=1, user_prompts=1))
    assert samples.ids(url, "interceptions") == ["2"]


def test_a_database_that_is_not_there_is_a_line_without_its_password(postgres: Postgres) -> None:
    with (
        closing(PostgresErasure(samples.recorder(postgres.url("nowhere")))) as erasure,
        pytest.raises(StoreUnavailable, match=r"^store postgresql://postgres@") as caught,
    ):
        erasure.count(Scope(before=DAY))
    assert postgres.password not in str(caught.value)
    assert "\n" not in str(caught.value)
