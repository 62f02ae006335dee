"""The store, asked from an event loop: on a few threads, and no question may take longer than a page may."""

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from anyio import CapacityLimiter, move_on_after, to_thread
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from sidecar.core.errors import SidecarError
from sidecar.recorder import reading
from sidecar.settings import Settings

PATIENCE: Final = 20.0  # seconds that a page's questions may take
GRACE: Final = 10.0  # more, for PostgreSQL to notice that; then it stands still, and the connection is cut
AT_ONCE: Final = 4  # pages whose questions are asked; the others wait
_STEPS: Final = 20_000  # of SQLite's machine, some milliseconds, between looks at the clock
_CANCELLED: Final = "57014"  # PostgreSQL: a statement's time is over
T = TypeVar("T")


class TooMuch(SidecarError):
    """Nobody's fault: what was asked for is more than a page may read."""


class Busy(SidecarError):
    """Nobody's fault: as many pages as may be read at once are being read, and stay so."""


class Store:
    """Answers questions about the records. Each sees one state of them and changes nothing."""

    def __init__(self, settings: Settings, patience: float = PATIENCE) -> None:
        """`patience`: seconds for the questions of one page, and as many before they are asked."""
        self._settings = settings
        self._patience = patience
        self._limiter = CapacityLimiter(AT_ONCE)

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer. Raises `Busy`, `TooMuch`, `JournalUnavailable`, `StoreUnavailable`, `BadSetting`."""
        place = object()
        with move_on_after(self._patience) as waiting:
            await self._limiter.acquire_on_behalf_of(place)
        if waiting.cancelled_caught:
            msg = f"{AT_ONCE} other pages are being read; try again"
            raise Busy(msg)
        try:
            # A thread that is left alone at the end of the process has nothing to lose.
            return await to_thread.run_sync(self.answer, question, abandon_on_cancel=True)
        finally:
            self._limiter.release_on_behalf_of(place)

    def answer(self, question: Callable[[Connection], T]) -> T:
        """The same on the caller's own thread."""
        with reading.store(self._settings, limit=self._patience + GRACE) as engine:
            try:  # what follows the question too: PostgreSQL may notice only then that the time is over
                with engine.connect() as connection, connection.begin():
                    self._bound(connection)
                    return question(connection)
            except DBAPIError as error:
                if _is_over(error):
                    raise self._too_much() from None
                raise

    def _bound(self, connection: Connection) -> None:
        end = time.monotonic() + self._patience
        driver = connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            driver.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        else:
            # PostgreSQL bounds one statement: each gets what those before have left.
            event.listen(connection, "before_cursor_execute", lambda _, cursor, *__: self._left(cursor, end))

    def _left(self, cursor: Any, end: float) -> None:  # noqa: ANN401 - psycopg's, which need not be there
        left = round((end - time.monotonic()) * 1000)
        if left <= 0:
            raise self._too_much()
        cursor.execute(f"SET LOCAL statement_timeout = {left}")

    def _too_much(self) -> TooMuch:
        return TooMuch(f"more than can be read in {self._patience:g} s")


def _is_over(error: DBAPIError) -> bool:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT
    return getattr(cause, "sqlstate", None) == _CANCELLED
