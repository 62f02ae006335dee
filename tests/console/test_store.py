"""A page's questions have an end, and change nothing."""

import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from sidecar.console.store import AT_ONCE, Busy, Store, TooMuch
from sidecar.core.errors import SidecarError
from sidecar.recorder.batches import StoreUnavailable
from tests.e2e.waiting import PATIENCE
from tests.stores import KINDS, Database, database

ENDLESS = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers) SELECT count(*) FROM numbers"
SHORT = f"{ENDLESS.replace('count(*)', 'n')} LIMIT 30000"
IMPATIENT = 0.1  # seconds


@pytest.fixture(params=KINDS)
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with database(request, tmp_path) as made:
        yield made


async def test_a_question_that_takes_too_long_is_ended(held: Database) -> None:
    with pytest.raises(TooMuch, match=r"more than can be read in 0\.1 s"):
        await Store(held.settings, IMPATIENT).ask(lambda connection: connection.exec_driver_sql(ENDLESS).all())


async def test_an_answer_in_time_is_given(held: Database) -> None:
    assert await Store(held.settings).ask(lambda connection: connection.exec_driver_sql("SELECT 1").scalar()) == 1


async def test_nothing_can_be_changed(held: Database) -> None:
    with pytest.raises((SidecarError, DBAPIError)):
        await Store(held.settings).ask(lambda connection: connection.exec_driver_sql("DELETE FROM interceptions"))


async def test_many_short_questions_have_one_end_together(held: Database) -> None:
    """PostgreSQL's own limit is one statement's."""

    def many(connection: Connection) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            connection.exec_driver_sql(f"SELECT count(*) FROM ({SHORT}) AS few").all()  # noqa: S608 - our own text

    with pytest.raises(TooMuch):
        await Store(held.settings, IMPATIENT).ask(many)


@pytest.mark.parametrize("held", ["postgresql"], indirect=True)
async def test_a_server_that_stands_still_keeps_no_page(held: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps no time limit then; the page's place is another's again."""
    monkeypatch.setattr("sidecar.console.store.GRACE", 1.0)
    stopped: list[int] = []

    def still(connection: Connection) -> None:
        stopped.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        os.kill(stopped[0], signal.SIGSTOP)
        connection.exec_driver_sql("SELECT 1")

    try:
        with pytest.raises(StoreUnavailable, match="closed the connection"):
            await Store(held.settings, 1.0).ask(still)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert await Store(held.settings).ask(lambda connection: connection.exec_driver_sql("SELECT 1").scalar()) == 1


async def test_who_waits_for_others_is_told_so_in_time(held: Database) -> None:
    store = Store(held.settings, IMPATIENT)
    async with slow_pages(store, AT_ONCE):
        with pytest.raises(Busy, match="try again"):
            await store.ask(lambda _: None)
    assert await Store(held.settings).ask(lambda _: "an answer") == "an answer"


async def test_a_slow_page_keeps_no_other_waiting(held: Database) -> None:
    store = Store(held.settings)
    async with slow_pages(store, AT_ONCE - 1):
        assert await store.ask(lambda _: "an answer") == "an answer"


@asynccontextmanager
async def slow_pages(store: Store, number: int) -> AsyncIterator[None]:
    """So many whose questions are being asked, until the end."""
    begun, over = threading.Semaphore(0), threading.Event()

    def slow(_: Connection) -> None:
        begun.release()
        over.wait(PATIENCE)

    async with anyio.create_task_group() as others:
        for _ in range(number):
            others.start_soon(store.ask, slow)
        for _ in range(number):
            await anyio.to_thread.run_sync(begun.acquire)
        try:
            yield
        finally:
            over.set()
