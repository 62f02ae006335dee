import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest
from msgspec.structs import replace

from sidecar.core.errors import JournalUnavailable
from sidecar.core.records import Forwarded, Passed, Prompt, Thought
from sidecar.recorder.journal.group_commit import RECORD, Journal
from tests.recorder import journal_samples as samples
from tests.recorder.journal_samples import Logged, Told

FORWARDED = Forwarded(interception="i-1", at=1.0)
PASSED = Passed(
    at=1.0, ended_at=2.0, actor="a", provider_name="p", method="GET", path="/p", url="http://p", http_status=200
)
BOUND = 30.0  # seconds: never reached unless something is broken


def a_journal(database: Path, told: Told | None = None, now: Callable[[], float] = lambda: 42.0) -> Journal:
    return Journal(database, worker=samples.WORKER, new_id=samples.numbered(), now=now, watch=told or Told())


@pytest.fixture
async def journal(database: Path, told: Told) -> AsyncIterator[Journal]:
    journal = a_journal(database, told)
    journal.open(asyncio.get_running_loop())
    yield journal
    assert journal.close(BOUND) == 0


@contextmanager
def locked(database: Path) -> Iterator[Callable[[], object]]:
    """Nobody else can write, until the context is left or what it gives is called."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield lambda: other.execute("ROLLBACK")


async def durable(future: asyncio.Future[float]) -> float:
    return await asyncio.wait_for(asyncio.shield(future), BOUND)


async def test_an_interception_is_there_to_the_last_column(journal: Journal, database: Path) -> None:
    await durable(journal.submit([samples.started()]))
    assert samples.table(database, "interceptions") == [samples.STARTED_ROW]
    await durable(journal.submit(samples.whole("i-1")))
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]
    assert samples.table(database, "user_prompts") == [samples.PROMPT_ROW]
    assert samples.table(database, "token_usages") == [samples.TOKENS_ROW]
    assert samples.table(database, "tool_usages") == [samples.TOOL_ROW]
    assert samples.table(database, "model_thoughts") == [samples.THOUGHT_ROW]


async def test_the_future_tells_when_its_records_were_committed(journal: Journal) -> None:
    assert await durable(journal.submit([samples.started()])) == 42.0
    assert journal.pending == 0


async def test_what_is_not_stored_is_safe_at_once(journal: Journal, told: Told) -> None:
    future = journal.submit([FORWARDED, PASSED])
    assert future.done()
    assert future.result() == 42.0
    assert told.events == []


async def test_what_is_not_stored_is_skipped_among_others(journal: Journal, database: Path) -> None:
    await durable(journal.submit([FORWARDED, samples.started(), PASSED]))
    assert samples.table(database, "interceptions") == [samples.STARTED_ROW]


async def test_what_waits_is_counted_with_its_texts(journal: Journal, database: Path) -> None:
    """Of a prompt there may be a mebibyte."""
    for record in (
        replace(samples.started(), prompt="x" * 1000),
        Prompt(interception="i-1", at=1.0, msg_id="", text="x" * 1000),
        Thought(interception="i-1", at=1.0, msg_id="", source="commentary", text="x" * 1000),
    ):
        with locked(database):
            future = journal.submit([record])
            assert journal.pending_bytes == RECORD + 1000
        await durable(future)
        assert journal.pending_bytes == 0


async def test_what_gathers_during_a_commit_shares_the_next(
    journal: Journal, database: Path, told: Told, logged: Logged
) -> None:
    names = [f"i-{number:03d}" for number in range(200)]
    with locked(database):
        futures = [journal.submit([samples.started(name), *samples.whole(name)]) for name in names]
        logged()
        assert journal.pending == 1200
        assert journal.pending_bytes > 1200 * RECORD
    await asyncio.gather(*map(durable, futures))
    logged()
    assert told.events.count("committed") <= 2
    assert journal.pending == journal.pending_bytes == 0
    assert samples.select(database, "SELECT id FROM interceptions WHERE status = 'completed' ORDER BY id") == [
        (name,) for name in names
    ]
    assert [count for (count,) in samples.select(database, "SELECT count(*) FROM model_thoughts")] == [200]


async def test_a_long_queue_is_acknowledged_in_pieces(
    journal: Journal, database: Path, told: Told, logged: Logged
) -> None:
    """After an outage the first in the queue must not wait for the last."""
    with locked(database):
        futures = [journal.submit([samples.thought(text=str(number))]) for number in range(2500)]
        logged()
    await asyncio.gather(*map(durable, futures))
    logged()
    assert told.events.count("committed") in {3, 4}
    found = samples.select(database, "SELECT content FROM model_thoughts ORDER BY id")
    assert found == [(str(number),) for number in range(2500)]


async def test_a_locked_journal_loses_nothing(journal: Journal, database: Path, logged: Logged) -> None:
    with locked(database) as unlock:
        future = journal.submit([samples.started()])
        assert logged() == {
            "event": "journal stalled, records are kept and tried again",
            "reason": "SQLITE_BUSY",
            "records": 1,
            "level": "warning",
        }
        later = journal.submit(samples.whole("i-1"))
        assert (journal.pending, future.done(), later.done()) == (6, False, False)
        unlock()
        await durable(later)
    assert future.done()
    assert logged() == {"event": "journal writes again, nothing was lost", "level": "warning"}
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]


async def test_cancelling_the_wait_keeps_the_records(journal: Journal, database: Path, logged: Logged) -> None:
    with locked(database):
        future = journal.submit([samples.started()])
        logged()
        assert future.cancel()
    await durable(journal.submit([samples.ended()]))
    logged()
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]


async def test_records_can_be_handed_in_while_a_task_is_cancelled(journal: Journal, database: Path) -> None:
    """Where nothing can be awaited any more."""
    futures = []

    async def stream() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            futures.append(journal.submit([samples.started(), samples.ended()]))

    task = asyncio.create_task(stream())
    await asyncio.wait((task,), timeout=0)
    task.cancel()
    await asyncio.wait((task,))
    await durable(futures[0])
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]


async def test_one_bad_value_costs_only_itself(journal: Journal, database: Path, logged: Logged) -> None:
    """Neither its neighbours' rows nor theirs acknowledgement; but nobody hears that it is safe."""
    with locked(database):
        good = journal.submit([samples.started("good"), samples.ended("good")])
        bad = journal.submit([samples.started("bad"), samples.tokens("bad", 2**63), samples.ended("bad")])
        logged()
    await durable(good)
    assert logged()["event"] == "journal writes again, nothing was lost"
    assert logged() == {
        "event": "record left out, no row can hold it",
        "type": "Tokens",
        "interception": "bad",
        "level": "error",
    }
    await durable(journal.submit([samples.started("next")]))
    assert not bad.done()
    assert journal.pending == 0
    assert samples.select(database, "SELECT id, status FROM interceptions ORDER BY id") == [
        ("bad", "completed"),
        ("good", "completed"),
        ("next", None),
    ]


async def test_what_cannot_even_become_a_row_is_left_out(journal: Journal, database: Path, logged: Logged) -> None:
    future = journal.submit([samples.started(at=float("nan"))])
    assert logged() == {
        "event": "record left out, no row can hold it",
        "type": "Started",
        "interception": "i-1",
        "level": "error",
    }
    await durable(journal.submit([samples.thought()]))
    assert not future.done()
    assert samples.table(database, "interceptions") == []


async def test_closing_writes_what_is_queued(database: Path) -> None:
    journal = a_journal(database)
    journal.open(asyncio.get_running_loop())
    for number in range(500):
        journal.submit([samples.thought(text=str(number))])
    assert journal.close(BOUND) == 0
    assert samples.select(database, "SELECT count(*) FROM model_thoughts") == [(500,)]


async def test_closing_gives_up_on_a_disk_that_stays_in_trouble(database: Path, logged: Logged) -> None:
    journal = a_journal(database)
    journal.open(asyncio.get_running_loop())
    with locked(database):
        journal.submit([samples.started()])
        logged()
        journal.submit(samples.whole("i-1"))
        assert journal.close(0.01) == 6
    assert samples.table(database, "interceptions") == []


async def test_what_the_last_try_still_writes_is_not_counted_as_lost(
    database: Path, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first, the lock's end or the bound's: a commit after the count would make it a lie."""
    monkeypatch.setattr("sidecar.recorder.journal.group_commit.LAST_TRY", BOUND)  # the disk may take its time here
    journal = a_journal(database)
    journal.open(asyncio.get_running_loop())
    with locked(database) as unlock:
        journal.submit([samples.started()])
        logged()
        closing_down = asyncio.create_task(asyncio.to_thread(journal.close, 0.0))
        await asyncio.wait((closing_down,), timeout=0)
        unlock()
        left = await closing_down
    written = len(samples.table(database, "interceptions"))
    assert left + written == 1
    if written:
        logged()


def test_records_are_written_even_when_nobody_is_left_to_hear(database: Path, logged: Logged) -> None:
    journal, loop = a_journal(database), asyncio.new_event_loop()
    journal.open(loop)
    with locked(database):
        journal.submit([samples.started()])
        logged()
        loop.close()
    assert journal.close(BOUND) == 0
    logged()
    assert samples.table(database, "interceptions") == [samples.STARTED_ROW]


async def test_the_thread_survives_what_nobody_thought_of(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A successor takes the same batch; that it is committed already makes no difference."""
    fates: SimpleQueue[type[BaseException] | None] = SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", lambda fate: fates.put(fate.exc_type))
    clock = iter([KeyboardInterrupt, 42.0])

    def now() -> float:
        tick = next(clock)
        if isinstance(tick, float):
            return tick
        raise tick

    journal = a_journal(database, now=now)
    journal.open(asyncio.get_running_loop())
    assert await durable(journal.submit([samples.started(), samples.thought()])) == 42.0
    assert journal.close(BOUND) == 0
    assert fates.get(timeout=BOUND) is KeyboardInterrupt  # told after the successor has begun
    assert len(samples.table(database, "interceptions")) == 1
    assert len(samples.table(database, "model_thoughts")) == 1


async def test_a_journal_that_was_not_migrated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="there is no such file"):
        a_journal(tmp_path / "journal.db").open(asyncio.get_running_loop())


PROGRAM = """
import asyncio, json, resource, sys
from pathlib import Path
import structlog
from sidecar.recorder.journal.group_commit import RECORD, Journal
from tests.recorder import journal_samples as samples

structlog.configure(processors=[structlog.processors.JSONRenderer()])

async def main(database):
    watch = samples.Told()
    journal = Journal(database, worker=samples.WORKER, new_id=samples.numbered(), now=lambda: 42.0, watch=watch)
    journal.open(asyncio.get_running_loop())
    await journal.submit([samples.started()])
    return journal
"""

EXITS = PROGRAM + "asyncio.run(main(Path(sys.argv[1])))"

# No file may grow: what a full disk does to SQLite, without a disk.
FULL = (
    PROGRAM
    + """
import threading

stalled = threading.Event()

class Printer(structlog.PrintLogger):
    def warning(self, message):
        super().warning(message)
        stalled.set()

structlog.configure(logger_factory=Printer)

async def full(database):
    journal = await main(database)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    future = journal.submit(samples.whole("i-1"))
    await asyncio.to_thread(stalled.wait)
    print(json.dumps({"done": future.done(), "pending": journal.pending}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await future
    print(json.dumps({"left": journal.close(30)}))

asyncio.run(full(Path(sys.argv[1])))
"""
)


def played(program: str, database: Path) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-c", program, str(database)],
        check=True,
        capture_output=True,
        cwd=Path(samples.__file__).parent,
        timeout=BOUND,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_thread_does_not_keep_the_process(database: Path) -> None:
    assert played(EXITS, database) == []
    assert samples.table(database, "interceptions") == [samples.STARTED_ROW]


def test_a_full_disk_loses_nothing(database: Path) -> None:
    stalled, *rest = played(FULL, database)
    assert stalled["event"] == "journal stalled, records are kept and tried again"
    assert stalled["reason"] in {"SQLITE_FULL", "SQLITE_IOERR_WRITE"}
    assert rest == [
        {"done": False, "pending": 5},
        {"event": "journal writes again, nothing was lost"},
        {"left": 0},
    ]
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]
    assert samples.table(database, "model_thoughts") == [samples.THOUGHT_ROW]
