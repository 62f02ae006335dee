"""The durable journal: records go in on the event loop, one thread commits whatever has gathered, the loop hears of it.

    event loop ── submit ──▶ queue ──▶ thread ── one transaction ──▶ SQLite (WAL, synchronous=FULL)
        ▲                                 │
        └── futures, one call a commit ───┘

While a commit waits for the disk the next batch gathers: under load many requests share one fdatasync, and an idle
journal costs nothing.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import structlog

from sidecar.core.records import Forwarded, Passed, Prompt, Record, Started, Thought, Tokens, Tool
from sidecar.recorder.journal.connection import check, unavailable
from sidecar.recorder.journal.transaction import UNFIT
from sidecar.recorder.journal.watch import Watch
from sidecar.recorder.journal.writer import GaveUp, Writer
from sidecar.recorder.rows import Row, Stored, row

log = structlog.get_logger()

_NOT_STORED = (Forwarded, Passed)
_NUMBERED = (Prompt, Tokens, Tool, Thought)  # the others are, or change, their interception's own row
BATCH = 1000  # submissions in one transaction: after an outage the first acknowledgements do not wait for the last row
LAST_TRY = 1.0  # seconds: a try under way waits BUSY for a lock, and what it still commits must not be counted as lost
RECORD = 2048  # bytes in memory of one that waits, without its text: about
_TEXTS = {Started: "prompt", Prompt: "text", Thought: "text", Tool: "input"}
RESPITE = 0.5  # seconds between the end of a thread and its successor


@dataclass(frozen=True, slots=True)
class Submission:
    """Records that were handed in together, each with the id its row would have."""

    records: tuple[tuple[Stored, str], ...]
    size: int  # bytes in memory, about
    durable: asyncio.Future[float]


class Journal:
    """Where one worker's records become durable. `submit` belongs to the event loop, the rest to whoever owns it."""

    def __init__(
        self,
        database: Path,
        *,
        worker: str,
        new_id: Callable[[], str],
        now: Callable[[], float],
        watch: Watch,
    ) -> None:
        """`worker` owns the rows. `new_id` is called on the loop; `now` (seconds since the epoch) on the thread too."""
        self._database = database
        self._worker = worker
        self._new_id = new_id
        self._now = now
        self._watch = watch
        self._queue: SimpleQueue[Submission | None] = SimpleQueue()
        self._batch: list[Submission] = []
        # Each has one writer: the loop, the thread.
        self._submitted = self._settled = 0
        self._bytes_in = self._bytes_out = 0
        self._last = False
        self._give_up = threading.Event()
        self._done = threading.Event()

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the thread; acknowledgements go to `loop`. The file must have been migrated.

        Raises `JournalUnavailable`.
        """
        check(self._database)
        try:
            self._writer = Writer(self._database, self._watch)
        except sqlite3.Error as error:
            raise unavailable(self._database, error) from error
        self._loop = loop
        self._begin()

    @property
    def pending(self) -> int:
        """Records that were submitted and are not yet on the disk."""
        return self._submitted - self._settled

    @property
    def pending_bytes(self) -> int:
        """The memory that they take, about."""
        return self._bytes_in - self._bytes_out

    def submit(self, records: Sequence[Record]) -> asyncio.Future[float]:
        """Queues the records, in order, and returns at once. Never raises.

        The future gets the time of the commit that made them durable. It stays open while they are not, for ever if
        one of them had to be left out because no database could hold it: wait with a bound. It may be cancelled; the
        records stay.
        """
        future: asyncio.Future[float] = self._loop.create_future()
        stored = tuple(
            (record, self._new_id() if isinstance(record, _NUMBERED) else record.interception)
            for record in records
            if not isinstance(record, _NOT_STORED)
        )
        if stored:
            size = _size(stored)
            self._submitted += len(stored)
            self._bytes_in += size
            self._queue.put(Submission(stored, size, future))
        else:
            future.set_result(self._now())
        return future

    def close(self, timeout: float) -> int:
        """Writes what is queued, for `timeout` seconds, and ends the thread; returns how many records are not written.

        Blocks, on whatever thread; a second longer when something is left, so that the try under way has ended and the
        count is true (unless the disk hangs). What is submitted afterwards is not written.
        """
        self._queue.put(None)
        if not self._done.wait(timeout):
            self._give_up.set()
            self._done.wait(LAST_TRY)
        return self.pending

    def _begin(self) -> None:
        threading.Thread(target=self._run, name="journal", daemon=True).start()

    def _run(self) -> None:
        try:
            while (self._batch or not self._last) and not self._give_up.is_set():
                self._batch = self._batch or self._gathered()
                if self._batch:
                    self._keep(self._batch)
            self._finish()
        except GaveUp:
            self._finish()
        finally:
            # Whatever nobody thought of: its traceback is reported as any thread's, a successor takes the same batch.
            if not self._done.is_set() and not self._give_up.wait(RESPITE):
                self._begin()
            else:
                self._done.set()

    def _finish(self) -> None:
        self._writer.close()
        self._done.set()

    def _gathered(self) -> list[Submission]:
        found = [self._queue.get()]
        while len(found) < BATCH and not self._queue.empty():
            found.append(self._queue.get())
        batch = [submission for submission in found if submission]
        self._last = self._last or len(batch) < len(found)
        return batch

    def _keep(self, batch: Sequence[Submission]) -> None:
        rows, unfit = self._rows(batch)
        unfit += self._writer.keep(rows, self._give_up)
        at = self._now()
        self._settled += sum(len(submission.records) for submission in batch)
        self._bytes_out += sum(submission.size for submission in batch)
        self._batch = []
        lost = {id(record) for record in unfit}
        whole = [one.durable for one in batch if lost.isdisjoint(id(record) for record, _ in one.records)]
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_acknowledge, whole, at)
        if unfit:
            self._watch.unfit(len(unfit))
        for record in unfit:
            log.error("record left out, no row can hold it", type=type(record).__name__, interception=_owner(record))

    def _rows(self, batch: Sequence[Submission]) -> tuple[list[Row], list[Stored]]:
        rows: list[Row] = []
        unfit: list[Stored] = []
        for submission in batch:
            for record, row_id in submission.records:
                try:
                    rows.append(row(record, row_id, self._worker))
                except UNFIT:
                    unfit.append(record)
        return rows, unfit


def _size(records: Sequence[tuple[Stored, str]]) -> int:
    size = RECORD * len(records)
    for record, _ in records:
        if text := _TEXTS.get(type(record)):
            size += len(getattr(record, text) or "")
    return size


def _owner(record: object) -> str:
    return str(getattr(record, "interception", ""))


def _acknowledge(futures: Sequence[asyncio.Future[float]], at: float) -> None:
    for future in futures:
        if not future.done():
            future.set_result(at)
