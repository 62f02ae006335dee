"""No record becomes older than `recorder.retention_days`: what is older is deleted hour by hour, beside the writers."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from sidecar.core.errors import SidecarError
from sidecar.recorder.erasure import Counts, Erasure, Pause, Scope
from sidecar.recorder.erasure.sqlite import SqliteErasure
from sidecar.settings import Settings

log = structlog.get_logger()

EVERY: Final = 3600.0  # seconds between two rounds
AGAIN: Final = 60.0  # seconds before another try at a store that is out of reach
LONGEST: Final = 86_400.0  # seconds of a round: a store that stands still ends it, and then it is tried again
LEAP: Final = 3600.0  # seconds: a clock that has been set forward by more must stay so until the next round


def keep(
    settings: Settings, stop: threading.Event, now: Callable[[], float], steady: Callable[[], float] = time.monotonic
) -> None:
    """Delete what is too old, at once and every hour, until `stop` is set. Never raises.

    `now`: seconds since the epoch; `steady`: seconds on a clock that nobody sets. Returns at once where records are
    kept for ever (0 days). Not for those whose store is a Recorder service, which applies its own.
    """
    days = settings.recorder.retention_days
    if not days:
        return
    was_away, apart = False, now() - steady()
    while not stop.is_set():
        at, was_apart = now(), apart
        apart = at - steady()
        if apart - was_apart > LEAP:  # perhaps for a moment, which must not cost a year's records
            log.warning("the clock was set forward, nothing is deleted for an hour", seconds=round(apart - was_apart))
            stop.wait(EVERY)
            continue
        scope = Scope(before=datetime.fromtimestamp(at, UTC) - timedelta(days=days))
        is_away = not _round(settings, scope, stop.wait, quiet=was_away)
        stop.wait(AGAIN if is_away else EVERY)
        was_away = is_away


def _round(settings: Settings, scope: Scope, pause: Pause, *, quiet: bool) -> bool:
    """Whether the stores were there. `quiet`: that they are not has been told."""
    gone, are_there = Counts(), True
    for place in _places(settings):
        try:
            with closing(place()) as erasure:
                gone += erasure.erase(scope, pause)
        except SidecarError as error:
            are_there = False
            if not quiet:
                log.warning("records too old could not be deleted, it is tried again", reason=str(error))
    if gone.rows:
        log.info("records too old deleted", before=str(scope.before), **gone.rows)
    return are_there


def _places(settings: Settings) -> Iterator[Callable[[], Erasure]]:
    """The journal, if there is one: where records are forwarded it may hold some that the store could not take."""
    if settings.database.exists() or not settings.is_forwarded:
        yield lambda: SqliteErasure(settings.database)
    if settings.is_forwarded:
        from sidecar.recorder.erasure.postgres import PostgresErasure  # noqa: PLC0415 - psycopg, which need not be there

        yield lambda: PostgresErasure(settings.recorder, yields=True, limit=LONGEST)
