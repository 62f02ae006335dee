"""Batches of many clients into few transactions.

    put ──▶ waiting ──▶ one thread: all that waits, in one transaction ──▶ store
     ▲                     │
     └── what is unfit ────┘

While a transaction waits for the disk, or for the database, the next one gathers.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from queue import SimpleQueue
from typing import Final

from sidecar.pb.aibridge.recorder.v1 import recorder_pb2 as pb
from sidecar.recorder.batches import Store, StoreUnavailable
from sidecar.recorder.service import contract

MOST_TOGETHER: Final = 50_000  # records after which a transaction takes no further batch

Records = Sequence[pb.Record]
Outcome = frozenset[str] | StoreUnavailable


@dataclass(frozen=True, slots=True)
class Waiting:
    """Records that came together, and how their sender hears what became of them."""

    records: Records
    outcome: asyncio.Future[frozenset[str]]


class Gathering:
    """A store in one thread's hands. `close` may be called on any thread, the rest belongs to the event loop."""

    def __init__(self, store: Store) -> None:
        self.batches = 0  # that wait or are on their way
        self.ended = asyncio.Event()  # no batch will be stored any more
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        # A daemon: what hangs at a database keeps no process from its end.
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    async def put(self, records: Records) -> frozenset[str]:
        """Make them durable; return the ids of those that are unfit. Raises `StoreUnavailable`: none counts as stored.

        Who no longer waits is stored all the same, and counts in `batches` until then.
        """
        self.batches += 1
        outcome = self._handed_in(records)
        outcome.add_done_callback(self._settled)
        return await asyncio.shield(outcome)

    async def ask(self) -> None:
        """Ask whether the store can be reached, behind whatever waits. Raises `StoreUnavailable`."""
        await asyncio.shield(self._handed_in(()))

    def close(self, timeout: float) -> bool:
        """Have what waits stored, for `timeout` seconds, and the store closed; False when that was too short."""
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _handed_in(self, records: Records) -> asyncio.Future[frozenset[str]]:
        outcome: asyncio.Future[frozenset[str]] = self._loop.create_future()
        self._queue.put(Waiting(records, outcome))
        return outcome

    def _settled(self, _: object) -> None:
        self.batches -= 1

    def _run(self) -> None:
        try:
            while some := self._next():
                self._on_loop(partial(_settle, some, self._outcome(some)))
        finally:
            self._store.close()
            self._on_loop(self.ended.set)

    def _outcome(self, some: Sequence[Waiting]) -> Outcome:
        batch, malformed = contract.batch(chain.from_iterable(one.records for one in some))
        try:
            return malformed | self._store.put(batch)
        except StoreUnavailable as error:
            return error

    def _on_loop(self, done: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(done)

    def _next(self) -> list[Waiting]:
        """All that waits, once something does; nothing at the end."""
        some: list[Waiting] = []
        while not some or (not self._queue.empty() and sum(len(one.records) for one in some) < MOST_TOGETHER):
            one = self._queue.get()
            if one is None:
                self._queue.put(None)  # the next call shall find it too
                break
            some.append(one)
        return some


def _settle(some: Sequence[Waiting], outcome: Outcome) -> None:
    for one in some:
        if isinstance(outcome, StoreUnavailable):
            one.outcome.set_exception(outcome)
        else:
            one.outcome.set_result(outcome)
