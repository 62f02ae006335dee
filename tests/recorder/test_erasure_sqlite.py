import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from sidecar.core.errors import JournalUnavailable
from sidecar.ids import Ids
from sidecar.recorder.erasure import Scope
from sidecar.recorder.erasure import sqlite as erasure_sqlite
from sidecar.recorder.erasure.sqlite import SqliteErasure
from sidecar.recorder.journal.group_commit import Journal
from sidecar.recorder.sqlite_store import SqliteStore
from tests.recorder import journal_samples as samples
from tests.recorder.aged import DAY, interception, together

BOUND = 30.0  # seconds: never reached unless something is broken
ASKED = "what alice asked, and nobody else"


@pytest.fixture
def erasure(database: Path) -> Iterator[SqliteErasure]:
    with closing(SqliteErasure(database)) as erasure:
        yield erasure


def filled(database: Path, count: int) -> None:
    with closing(SqliteStore(database)) as store:
        store.put(together(*(interception(f"{number:05d}", DAY - timedelta(seconds=9)) for number in range(count))))


def raw(database: Path) -> bytes:
    """The file and what lies beside it."""
    return b"".join(path.read_bytes() for path in sorted(database.parent.iterdir()))


async def test_a_writer_commits_all_that_it_is_given_while_thousands_go(database: Path) -> None:
    """Each commit falls among the deletions: the next is submitted when the last is durable."""
    filled(database, 3000)
    journal = Journal(database, worker=samples.WORKER, new_id=Ids(time.time), now=time.time, watch=samples.Told())
    journal.open(asyncio.get_running_loop())
    written, going = 0, asyncio.create_task(asyncio.to_thread(_erased, database))
    while not going.done():
        start = replace(samples.started(f"new-{written}"), at=DAY.timestamp())
        await asyncio.wait_for(journal.submit([start, *samples.whole(f"new-{written}")]), BOUND)
        written += 1
    assert await going == 3000
    assert journal.close(BOUND) == 0
    names = samples.select(database, "SELECT id FROM interceptions WHERE ended_at IS NOT NULL")
    assert {str(name) for (name,) in names} == {f"new-{number}" for number in range(written)}
    assert written > 10  # in the pauses at least


def _erased(database: Path) -> int:
    with closing(SqliteErasure(database)) as erasure:
        return erasure.erase(Scope(before=DAY), threading.Event().wait).rows["interceptions"]


async def test_erased_text_is_not_in_the_files(database: Path) -> None:
    """Short and long, as it was while open and after the end, of rows that stood among others; a bridge has it open."""
    journal = Journal(database, worker=samples.WORKER, new_id=Ids(time.time), now=time.time, watch=samples.Told())
    journal.open(asyncio.get_running_loop())
    for number in range(1500):
        name, text = f"{number * 7919 % 1500:04d}", f"{ASKED} " * (1 + 300 * (number % 40 == 0))
        who = "alice" if number % 3 else "bob"
        start = replace(samples.started(name, text.replace("alice", who)), initiator=who)
        durable = journal.submit([start])
        durable = journal.submit(
            [
                samples.prompt(name, text.replace("alice", who)),
                samples.thought(name, text.replace("alice", who)),
                replace(samples.tool(name), input=text.replace("alice", who)),
                samples.ended(name),
            ]
        )
    await asyncio.wait_for(durable, BOUND)
    assert ASKED.encode() in raw(database)
    with closing(SqliteErasure(database)) as erasure:
        assert erasure.erase(Scope(actor="alice"), threading.Event().wait).rows["user_prompts"] == 1000
        assert erasure.settle(threading.Event().wait) == ""
        assert ASKED.encode() not in raw(database)
    assert ASKED.replace("alice", "bob").encode() in raw(database)
    assert journal.close(BOUND) == 0


def test_a_reader_who_keeps_the_log_is_told_and_no_failure(database: Path, erasure: SqliteErasure) -> None:
    filled(database, 3)
    with closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM interceptions").fetchone()
        erasure.erase(Scope(before=DAY), lambda _: False)
        assert erasure.settle(lambda _: True) == (
            f"{database}-wal is being read and may hold deleted text until it is next written anew"
        )
    assert erasure.settle(lambda _: False) == ""


def test_a_large_file_is_rewritten_only_when_that_is_asked_for(
    database: Path, erasure: SqliteErasure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers wait meanwhile."""
    monkeypatch.setattr(erasure_sqlite, "SMALL", 1)
    filled(database, 3)
    erasure.erase(Scope(before=DAY), lambda _: False)
    assert erasure.settle(lambda _: False) == (
        f"{database} may hold traces of deleted text until it is rewritten (--vacuum)"
    )
    assert erasure.settle(lambda _: False, rewrite=True) == ""
    (free,) = samples.select(database, "PRAGMA freelist_count")
    assert free == (0,)


def test_whoever_locks_the_file_is_waited_for(database: Path, erasure: SqliteErasure) -> None:
    filled(database, 3)
    pauses: list[float] = []
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")

        def pause(seconds: float) -> bool:
            pauses.append(seconds)
            if len(pauses) == 2:
                other.execute("ROLLBACK")
            return False

        assert erasure.erase(Scope(before=DAY), pause).rows["interceptions"] == 3
    assert len(pauses) >= 3


def test_who_is_told_to_stop_while_it_waits_does(database: Path, erasure: SqliteErasure) -> None:
    filled(database, 3)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert erasure.erase(Scope(before=DAY), lambda _: True).rows == {}
    assert erasure.count(Scope(before=DAY)).rows["interceptions"] == 3


def test_what_is_looked_for_is_found_by_an_index(database: Path) -> None:
    """However much is younger, or has another owner."""
    values = dict.fromkeys(("before", "before_id", "actor", "after_time", "after_id"), "") | {"size": 1}
    queries = (erasure_sqlite._FIND, *erasure_sqlite._FIND_ORPHANS.values())  # noqa: SLF001 - what is asked of SQLite
    with closing(sqlite3.connect(database)) as connection:
        for query in queries:
            plan = " ".join(str(line[3]) for line in connection.execute(f"EXPLAIN QUERY PLAN {query}", values))
            assert "SCAN" not in plan
            assert "TEMP B-TREE" not in plan


def test_those_that_have_ended_are_told_from_others(database: Path, erasure: SqliteErasure) -> None:
    with closing(SqliteStore(database)) as store:
        store.put(together(interception("ended", DAY), interception("open", DAY, lasted=None)))
    assert erasure.ended(["ended", "open", "nowhere"]) == ["ended"]


def test_a_file_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="there is no such file"):
        SqliteErasure(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_breaks_is_told(database: Path, erasure: SqliteErasure) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE user_prompts")
    with pytest.raises(JournalUnavailable, match=r"journal\.db: no such table: user_prompts$"):
        erasure.count(Scope(before=DAY))
