"""What the journal tells of itself while it works."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from sidecar.core.records import Record
from sidecar.recorder.journal.group_commit import Journal
from tests.e2e.waiting import PATIENCE
from tests.recorder import journal_samples as samples
from tests.recorder.journal_samples import Logged, Told


def opened(database: Path, told: Told) -> Journal:
    journal = Journal(database, worker=samples.WORKER, new_id=samples.numbered(), now=lambda: 1.0, watch=told)
    journal.open(asyncio.get_running_loop())
    return journal


async def kept(journal: Journal, *records: Record) -> None:
    async with asyncio.timeout(PATIENCE):
        await journal.submit(records)


async def test_each_commit_is_told_with_its_length(database: Path, told: Told) -> None:
    journal = opened(database, told)
    await kept(journal, samples.started())
    await kept(journal, samples.ended())
    assert journal.close(PATIENCE) == 0
    assert told.events == ["committed", "committed"]
    assert min(told.seconds) > 0


async def test_trouble_is_told_once_and_belongs_to_the_commit_that_it_delayed(
    database: Path, told: Told, logged: Logged
) -> None:
    """A batch that waited for a lock took as long as its records did."""
    journal = opened(database, told)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        durable = journal.submit([samples.started()])
        locked = asyncio.get_running_loop().time()
        await asyncio.to_thread(logged)  # so it says that it stalled
        waited = asyncio.get_running_loop().time() - locked
        other.execute("ROLLBACK")
    async with asyncio.timeout(PATIENCE):
        await durable
    assert journal.close(PATIENCE) == 0
    logged()
    assert told.events == ["stalled", "committed"]
    assert told.seconds[0] > waited / 2


async def test_what_no_row_can_hold_is_told(database: Path, told: Told, logged: Logged) -> None:
    journal = opened(database, told)
    await kept(journal, samples.started())
    journal.submit([samples.started("i-2", prompt="\ud800")])
    assert await asyncio.to_thread(logged)
    assert journal.close(PATIENCE) == 0
    assert told.events == ["committed", "committed", "unfit 1"]
