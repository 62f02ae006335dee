from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from sidecar.recorder.batches import TABLES, Batch
from sidecar.recorder.postgres import months as postgres_months
from sidecar.recorder.postgres.connection import StoreUnfit, engine
from sidecar.recorder.postgres.months import drop_months, following, months, touched
from sidecar.recorder.postgres.store import PostgresStore, migrate
from tests.postgres import Postgres, execute
from tests.recorder import postgres_samples as samples

SEPTEMBER = date(2001, 9, 1)
OCTOBER = date(2001, 10, 1)


@pytest.fixture
def url(fresh_database: str) -> str:
    migrate(samples.recorder(fresh_database))
    return fresh_database


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(samples.recorder(url))) as made:
        yield made


@pytest.fixture
def database(url: str) -> Engine:
    return engine(samples.recorder(url))


def names(year: int, month: int) -> list[str]:
    return [f"{table}_{year:04d}_{month:02d}" for table in sorted(TABLES)]


def prompt(number: int, moment: str) -> Batch:
    return Batch(rows={"user_prompts": [samples.row("user_prompts", id=f"p-{number}", created_at=moment)]})


def landed(url: str) -> dict[str, str]:
    return dict(execute(url, "SELECT id, tableoid::regclass::text FROM user_prompts"))


def old(database: Engine) -> list[str]:
    return [name for name, month in months(database) if month < date(2010, 1, 1)]


@pytest.mark.parametrize(
    ("month", "after"), [(date(2025, 12, 1), date(2026, 1, 1)), (date(2026, 1, 1), date(2026, 2, 1))]
)
def test_the_month_that_follows(month: date, after: date) -> None:
    assert following(month) == after


def test_the_months_of_a_batch() -> None:
    """What is no moment has none, and neither has the last month that a date can name: it has no end."""
    moments = ("2026-01-31T23:59:59.999999Z", "2026-02-01T00:00:00.000000Z", "soon", None, "9999-12-01T00:00:00Z")
    rows = [samples.row("user_prompts", created_at=moment) for moment in moments]
    found = touched(Batch(rows={"user_prompts": rows, "interceptions": [samples.row("interceptions")]}))
    assert found == {date(2026, 1, 1), date(2026, 2, 1), SEPTEMBER}


def test_this_month_and_the_next_are_there_from_the_start(url: str, database: Engine) -> None:
    this = execute(url, "SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date")[0][0]
    assert months(database) == [
        (name, month) for month in (this, following(this)) for name in names(month.year, month.month)
    ]


def test_a_row_lies_in_its_month_in_utc(store: PostgresStore, url: str) -> None:
    """To the last microsecond, in whatever zone the server lives."""
    name = url.rpartition("/")[2]
    execute(url, f"ALTER DATABASE {name} SET timezone = 'Pacific/Auckland'")
    for number, moment in enumerate(("2001-09-30T23:59:59.999999Z", "2001-10-01T00:00:00.000000Z")):
        store.put(prompt(number, moment))
    assert landed(url) == {"p-0": "user_prompts_2001_09", "p-1": "user_prompts_2001_10"}


def test_one_batch_may_have_many_months(store: PostgresStore, url: str, database: Engine) -> None:
    rows = [samples.row("user_prompts", id=f"p-{n:02d}", created_at=f"2001-{n:02d}-01T00:00:00Z") for n in range(1, 13)]
    assert store.put(Batch(rows={"user_prompts": rows})) == frozenset()
    assert landed(url) == {f"p-{n:02d}": f"user_prompts_2001_{n:02d}" for n in range(1, 13)}
    assert old(database) == [name for n in range(1, 13) for name in names(2001, n)]


def test_a_month_has_the_keys_and_indexes_of_its_table(store: PostgresStore, url: str) -> None:
    store.put(samples.one_of_each())
    found = execute(url, "SELECT indexname FROM pg_indexes WHERE tablename = 'interceptions_2001_09' ORDER BY 1")
    parts = ("initiator_id_idx", "pkey", "started_at_idx", "worker_idx")
    assert found == [(f"interceptions_2001_09_{part}",) for part in parts]
    loose = "SELECT 1 FROM pg_index JOIN pg_class ON oid = indexrelid WHERE NOT indisvalid AND relname !~ '^pg_'"
    assert execute(url, loose) == []


def test_stores_may_need_the_same_new_month_at_once(url: str) -> None:
    with ThreadPoolExecutor() as pool:
        done = [pool.submit(put_once, url, number) for number in range(6)]
        assert [each.result() for each in done] == [frozenset()] * 6
    assert set(landed(url).values()) == {"user_prompts_2001_09"}


def put_once(url: str, number: int) -> frozenset[str]:
    with closing(PostgresStore(samples.recorder(url))) as store:
        return store.put(prompt(number, "2001-09-09T00:00:00Z"))


def test_a_new_month_waits_for_nobody(store: PostgresStore, url: str) -> None:
    """Neither for who reads nor for who writes, and they do not wait for it."""
    with psycopg.connect(url) as other:
        other.execute("SELECT * FROM user_prompts")
        other.execute("DELETE FROM user_prompts")
        other.execute("SET LOCAL lock_timeout = '1ms'")
        store.put(prompt(1, "2001-09-09T00:00:00Z"))
        other.execute("DELETE FROM token_usages")
    assert landed(url) == {"p-1": "user_prompts_2001_09"}


def test_whole_months_before_a_day_are_dropped(store: PostgresStore, url: str, database: Engine) -> None:
    for number, moment in enumerate(("2001-08-31T00:00:00Z", "2001-09-09T00:00:00Z", "2001-10-01T00:00:00Z")):
        store.put(prompt(number, moment))
    assert drop_months(database, date(2001, 9, 30)) == names(2001, 8)
    assert drop_months(database, OCTOBER) == names(2001, 9)
    assert drop_months(database, OCTOBER) == []
    assert landed(url) == {"p-2": "user_prompts_2001_10"}


def test_a_month_that_was_dropped_is_made_again(store: PostgresStore, url: str, database: Engine) -> None:
    """The store remembers it, and learns from PostgreSQL that it is no more."""
    store.put(samples.one_of_each())
    drop_months(database, OCTOBER)
    assert store.put(samples.one_of_each()) == frozenset()
    assert old(database) == names(2001, 9)
    assert len(samples.ids(url, "interceptions")) == 1


def test_readers_of_other_months_do_not_hinder_a_drop(store: PostgresStore, url: str, database: Engine) -> None:
    store.put(samples.one_of_each())
    with psycopg.connect(url) as reader:
        reader.execute("SELECT * FROM user_prompts_2001_09 WHERE false")
        reader.commit()
        store.put(prompt(9, "2001-10-01T00:00:00Z"))
        reader.execute("SELECT * FROM user_prompts_2001_10")
        assert drop_months(database, OCTOBER) == names(2001, 9)


def test_what_an_interrupted_drop_left_is_dropped(
    store: PostgresStore, url: str, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long report keeps the first call from its end; a month was detached by hand and forgotten."""
    monkeypatch.setattr(postgres_months, "_PATIENCE", "SET lock_timeout = '50ms'")
    store.put(samples.one_of_each())
    execute(url, "ALTER TABLE model_thoughts DETACH PARTITION model_thoughts_2001_09")
    with psycopg.connect(url) as reader:
        reader.execute("SELECT * FROM interceptions")
        with pytest.raises(DBAPIError):
            drop_months(database, OCTOBER)
        assert old(database) == names(2001, 9)
    monkeypatch.undo()
    assert drop_months(database, OCTOBER) == names(2001, 9)
    assert old(database) == []


def test_rows_for_a_month_half_dropped_bring_it_back(
    store: PostgresStore, url: str, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_months, "_PATIENCE", "SET lock_timeout = '50ms'")
    store.put(samples.one_of_each())
    with psycopg.connect(url) as reader:
        reader.execute("SELECT * FROM interceptions")
        with pytest.raises(DBAPIError):
            drop_months(database, OCTOBER)
    assert store.put(samples.one_of_each()) == frozenset()
    assert {table: len(samples.ids(url, table)) for table in TABLES} == dict.fromkeys(TABLES, 1)


def test_several_may_drop_at_once(store: PostgresStore, database: Engine) -> None:
    store.put(samples.one_of_each())
    with ThreadPoolExecutor() as pool:
        done = [pool.submit(drop_months, database, OCTOBER) for _ in range(4)]
        assert sorted(name for each in done for name in each.result()) == names(2001, 9)


def test_rows_and_drops_may_cross(url: str, database: Engine) -> None:
    """A row for a month that goes at that very moment is in the next one of that name, or tried again: never unfit."""
    with closing(PostgresStore(samples.recorder(url))) as store, ThreadPoolExecutor() as pool:
        for number in range(20):
            dropping = pool.submit(drop_months, database, OCTOBER)
            assert store.put(prompt(number, "2001-09-09T00:00:00Z")) == frozenset()
            dropping.result()


def test_tables_of_others_are_left_alone(url: str, database: Engine) -> None:
    execute(url, "CREATE TABLE bookmarks_2001_09 (url text)")
    execute(url, "CREATE TABLE user_prompts_2001_13 (url text)")
    assert drop_months(database, OCTOBER) == []


def test_a_role_that_owns_nothing_is_told_when_a_month_is_missing(
    url: str, store: PostgresStore, postgres: Postgres
) -> None:
    """And puts into those that are there."""
    store.put(samples.one_of_each())
    with (
        postgres.role(url, "INSERT, SELECT, UPDATE ON ALL TABLES IN SCHEMA public") as lesser,
        closing(PostgresStore(samples.recorder(lesser))) as writer,
    ):
        assert writer.put(samples.prompts("one more")) == frozenset()
        with pytest.raises(StoreUnfit) as caught:
            writer.put(prompt(7, "2001-10-01T00:00:00Z"))
    assert "a privilege that this takes" in str(caught.value)
    assert "\n" not in str(caught.value)
