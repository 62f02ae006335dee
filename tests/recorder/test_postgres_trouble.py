"""A server that goes, stops, refuses: what is put is there whole or not at all, and may be put again."""

import os
import signal
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from sidecar.recorder.batches import TABLES, StoreUnavailable
from sidecar.recorder.postgres.connection import StoreUnfit
from sidecar.recorder.postgres.store import PostgresStore, migrate
from tests.postgres import Postgres, execute
from tests.recorder import postgres_samples as samples

ALL = dict.fromkeys(TABLES, 1)
OURS = "application_name = 'aibridge' AND datname = current_database()"
LIMIT = 60.0


@pytest.fixture
def url(fresh_database: str) -> str:
    migrate(samples.recorder(fresh_database))
    return fresh_database


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(samples.recorder(url))) as made:
        yield made


def counts(url: str) -> dict[str, int]:
    return {table: len(samples.ids(url, table)) for table in TABLES}


def until_waiting(url: str) -> int:
    """The process id of our backend, once it waits for a lock."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        query = f"SELECT pid FROM pg_stat_activity WHERE {OURS} AND wait_event_type = 'Lock'"  # noqa: S608 - a test's
        if waiting := execute(url, query):
            return int(waiting[0][0])
    pytest.fail("nobody waits")


def refusal(store: PostgresStore) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        store.put(samples.one_of_each())
    return str(caught.value)


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_after_a_restart_the_same_batch_is_put_once(
    store: PostgresStore, url: str, postgres: Postgres, how: str
) -> None:
    store.put(samples.prompts("before"))
    if how == "kill":
        postgres.kill()
    else:
        postgres.stop("fast" if how == "fast" else "immediate")
    try:
        refusal(store)
        assert "connection failed" in refusal(store)
    finally:
        postgres.start()
    store.put(samples.one_of_each())
    assert counts(url) == ALL | {"user_prompts": 2}


def test_a_connection_cut_in_the_middle_leaves_nothing_half(store: PostgresStore, url: str) -> None:
    with ThreadPoolExecutor() as pool, psycopg.connect(url) as other:
        other.execute("LOCK TABLE token_usages")
        putting = pool.submit(store.put, samples.one_of_each())
        execute(url, "SELECT pg_terminate_backend(%s)", [until_waiting(url)])
        with pytest.raises(StoreUnavailable, match=r"AdminShutdown \(57P01\)|closed the connection"):
            putting.result(LIMIT)
    assert counts(url) == dict.fromkeys(TABLES, 0)
    assert store.put(samples.one_of_each()) == frozenset()
    assert counts(url) == ALL


def test_who_waits_for_a_lock_gives_up(url: str) -> None:
    with closing(PostgresStore(samples.recorder(url), patience=0.2)) as hasty, psycopg.connect(url) as other:
        other.execute("LOCK TABLE token_usages")
        assert refusal(hasty).endswith("QueryCanceled (57014)")
    assert counts(url) == dict.fromkeys(TABLES, 0)


def test_a_server_that_stands_still_is_left(url: str) -> None:
    """It keeps no time limit then, and its kernel goes on acknowledging."""
    hasty = PostgresStore(samples.recorder(url), limit=5.0)
    with closing(hasty), ThreadPoolExecutor() as pool, psycopg.connect(url) as other:
        other.execute("LOCK TABLE token_usages")
        putting = pool.submit(hasty.put, samples.one_of_each())
        stopped = until_waiting(url)
        os.kill(stopped, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable):
                putting.result(LIMIT)
        finally:
            os.kill(stopped, signal.SIGCONT)
    with closing(PostgresStore(samples.recorder(url))) as patient:
        patient.put(samples.one_of_each())
    assert counts(url) == ALL


def test_who_looks_at_the_schema_does_not_wait_for_ever(url: str) -> None:
    """The forwarder does, whenever it connects; meanwhile nothing is forwarded."""
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE alembic_version")
        with pytest.raises(StoreUnavailable, match="closed the connection"):
            migrate(samples.recorder(url), limit=1.0)
    migrate(samples.recorder(url))


def test_a_deadlock_is_tried_again(store: PostgresStore, url: str) -> None:
    with ThreadPoolExecutor() as pool, psycopg.connect(url) as other:
        other.execute("SET deadlock_timeout = '1h'")  # the store is the one to notice
        other.execute("LOCK TABLE token_usages")
        putting = pool.submit(store.put, samples.one_of_each())
        until_waiting(url)
        pool.submit(other.execute, "LOCK TABLE user_prompts")
        with pytest.raises(StoreUnavailable, match=r"DeadlockDetected \(40P01\)|took too long"):
            putting.result(LIMIT)
    store.put(samples.one_of_each())
    assert counts(url) == ALL


def test_a_server_that_takes_no_writes_is_told(store: PostgresStore, url: str) -> None:
    """As a standby does; after a failover the next connection finds the new primary."""
    name = url.rpartition("/")[2]
    execute(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert refusal(store).endswith("it takes no writes: a standby, or set to read only: ReadOnlySqlTransaction (25006)")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    store.put(samples.one_of_each())


def test_a_wrong_password_is_told_and_not_shown(url: str, postgres: Postgres) -> None:
    wrong = url.replace(postgres.password, "not-the-password")
    with closing(PostgresStore(samples.recorder(wrong))) as store:
        line = refusal(store)
    assert "password authentication failed" in line
    assert "\n" not in line
    assert "not-the-password" not in line
    assert line.startswith(f"store {samples.recorder(url).place}: ")


def test_neither_content_nor_password_is_in_an_error(store: PostgresStore, url: str, postgres: Postgres) -> None:
    """PostgreSQL's own text would quote the row, and a traceback the text of the error before."""
    execute(url, "ALTER TABLE interceptions ADD CONSTRAINT mine CHECK (request_path = '') NOT VALID")
    execute(url, "ALTER TABLE tool_usages DROP COLUMN tool")
    with pytest.raises(StoreUnavailable) as caught:
        store.put(samples.one_of_each())
    text = "".join(traceback.format_exception(caught.value))
    assert str(caught.value).endswith(": UndefinedColumn (42703)")
    assert not [secret for secret in ("alice", "hello", "let me see", postgres.password) if secret in text]
    assert postgres.password not in repr(vars(samples.recorder(url)))


def test_a_missing_schema_is_the_operators(fresh_database: str) -> None:
    store = PostgresStore(samples.recorder(fresh_database))
    with closing(store), pytest.raises(StoreUnfit, match="a table is missing"):
        store.put(samples.one_of_each())
