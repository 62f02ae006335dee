"""From the journal to a store elsewhere: batches, at least once, until they are acknowledged.

    journal ─ read ─▶ batch ─ put ─▶ store ─ acknowledged ─▶ deleted from the journal

Nothing is remembered but in the two of them: whoever starts again begins with what the journal holds. A repeat is
harmless, since rows have ids. The request path knows nothing of it.
"""

import random
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from sidecar.core.errors import SidecarError
from sidecar.recorder.batches import CHILDREN, INTERCEPTIONS, Batch, Store
from sidecar.recorder.journal.backlog import Backlog
from sidecar.recorder.journal.turns import turn
from sidecar.recorder.rows import seconds as since_epoch

log = structlog.get_logger()

IDLE: Final = 0.2  # seconds between two looks at a journal that holds nothing
EARLY: Final = 5.0  # seconds after which what is still open is shown to the store
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between two tries at a store that is away
_MEASURED = 1.0  # seconds between two looks at how much there is
_JOURNAL_TROUBLE = (sqlite3.Error, OSError)


class Gauges(Protocol):
    """What an operator sees of it."""

    def backlog(self, *, interceptions: int, oldest_seconds: float, size: int) -> None:
        """How much is not forwarded, since when, and how many bytes of the journal are in use."""

    def forwarded(self, interceptions: int) -> None:
        """So many more are."""

    def failed(self) -> None:
        """A batch could not be forwarded; it will be tried again."""

    def dropped(self, interceptions: int) -> None:
        """So many were deleted unforwarded, since the journal was full."""

    def unfit(self, records: int) -> None:
        """So many the store can never hold; they stay in the journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`journal`: bytes that it may use; `drops`: whether the oldest go when it does, instead of new requests."""

    journal: int
    drops: bool


class Forwarder:
    """One journal's. `pause` waits so many seconds and says whether to stop; `now` is the time since the epoch."""

    def __init__(  # noqa: PLR0913 - each is somebody else's
        self,
        database: Path,
        *,
        store: Callable[[], Store],
        bounds: Bounds,
        gauges: Gauges,
        now: Callable[[], float],
        pause: Callable[[float], bool],
    ) -> None:
        """`store` makes one, ready to take rows; it may raise SidecarError, and then is asked again."""
        self._database = database
        self._make = store
        self._bounds = bounds
        self._gauges = gauges
        self._now = now
        self._pause = pause
        self._store: Store | None = None
        self._shown: frozenset[str] = frozenset()  # open ones that the store has
        self._set_aside: set[str] = set()  # interceptions of which the store cannot hold everything
        self._wait = FIRST_PAUSE
        self._is_away = False
        self._measured_at = float("-inf")
        self._shown_at = float("-inf")

    def run(self) -> None:
        """Forward until told to stop, and then what is there, if the store takes it at once. Never raises."""
        backlog = self._opened()
        if backlog is None:
            return
        while not self._rests(backlog, 0 if self.step(backlog) else self._backed_off() if self._is_away else IDLE):
            pass
        while self.step(backlog) and not self._is_away:
            pass
        self._close(backlog)

    def step(self, backlog: Backlog) -> int:
        """Forward a batch; returns how many interceptions went, 0 also when the store or the journal is in trouble."""
        try:
            with turn(self._database, waits=False) as is_ours:
                if not is_ours:  # a purge has it; what waits here is watched meanwhile
                    return 0
                moved = self._forward(backlog)
        except SidecarError as error:
            self._away(str(error))
            return 0
        except _JOURNAL_TROUBLE as error:
            self._away(_journal(error))
            with suppress(*_JOURNAL_TROUBLE):
                backlog.renew()
            return 0
        self._back()
        return moved

    def _forward(self, backlog: Backlog) -> int:
        store = self._store = self._store or self._make()
        self._show(backlog, store)
        batch = backlog.ended(self._set_aside)
        ids = [str(row[0]) for row in batch.rows[INTERCEPTIONS]]
        if not ids:
            return 0
        kept = self._unfit(batch, store.put(batch))
        done = [one for one in ids if one not in kept]
        backlog.forget(done)
        self._gauges.forwarded(len(done))
        return len(ids)

    def _show(self, backlog: Backlog, store: Store) -> None:
        """Tell the store of those that have been open for long: what became of them it hears at their end."""
        now = self._now()
        if abs(now - self._shown_at) < EARLY:  # the clock may have been set back
            return
        self._shown_at = now
        self._shown = backlog.still_open(self._shown)
        batch = backlog.opened(now - EARLY, self._shown)
        ids = frozenset(str(row[0]) for row in batch.rows[INTERCEPTIONS])
        if ids:
            store.put(batch)
            self._shown |= ids

    def _unfit(self, batch: Batch, ids: frozenset[str]) -> frozenset[str]:
        """The interceptions that own what cannot be stored: they stay, and are not tried again before a restart."""
        if not ids:
            return ids
        owners = frozenset(_owners(batch, ids))
        self._set_aside |= owners
        self._gauges.unfit(len(ids))
        for owner in sorted(owners):
            log.error("the store cannot hold a record: its interception stays in the journal", interception=owner)
        return owners

    def _rests(self, backlog: Backlog, seconds: float) -> bool:
        """Whether to stop, told after so many seconds at most, in which the journal is watched."""
        while True:
            with suppress(*_JOURNAL_TROUBLE):
                self._measure(backlog)
            if self._pause(min(seconds, _MEASURED)):
                return True
            seconds -= _MEASURED
            if seconds <= 0:
                return False

    def _measure(self, backlog: Backlog) -> None:
        now = self._now()
        if abs(now - self._measured_at) < _MEASURED:
            return
        self._measured_at = now
        if self._bounds.drops:
            self._drop(backlog)
        state, size = backlog.state(), backlog.size()
        age = 0.0 if state.oldest is None else max(0.0, now - since_epoch(state.oldest))
        self._gauges.backlog(interceptions=state.interceptions, oldest_seconds=age, size=size)

    def _drop(self, backlog: Backlog) -> None:
        total = 0
        while backlog.size() > self._bounds.journal and (count := backlog.drop_oldest()):
            total += count
        if total:
            self._gauges.dropped(total)
            log.error("journal full: the oldest interceptions were dropped, unforwarded", interceptions=total)

    def _away(self, reason: str) -> None:
        self._gauges.failed()
        if not self._is_away:
            log.warning("records cannot be forwarded, they are kept and tried again", reason=reason)
        self._is_away = True
        if self._store is not None:
            self._store.close()
            self._store = None

    def _back(self) -> None:
        if self._is_away:
            log.warning("records are forwarded again")
        self._is_away = False
        self._wait = FIRST_PAUSE

    def _backed_off(self) -> float:
        wait, self._wait = self._wait, min(2 * self._wait, LONGEST_PAUSE)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - a fleet shall not come back in one moment

    def _opened(self) -> Backlog | None:
        while True:
            try:
                return Backlog(self._database)
            except sqlite3.Error as error:
                self._away(_journal(error))
                if self._pause(self._backed_off()):
                    return None

    def _close(self, backlog: Backlog) -> None:
        backlog.close()
        if self._store is not None:
            self._store.close()


def _journal(error: Exception) -> str:
    return f"journal: {getattr(error, 'sqlite_errorname', type(error).__name__)}"


def _owners(batch: Batch, ids: frozenset[str]) -> Iterable[str]:
    yield from (str(row[0]) for row in batch.rows[INTERCEPTIONS] if row[0] in ids)
    for table in CHILDREN:
        yield from (str(row[1]) for row in batch.rows.get(table, ()) if row[0] in ids)  # id, interception_id, …
