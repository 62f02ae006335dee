"""The store, asked from an event loop: on a few threads, and no question may take longer than a page may."""

import sqlite3
import time
from collections.abc import Callable
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from sidecar.core.errors import SidecarError
from sidecar.recorder import reading
from sidecar.settings import Settings

PATIENCE: Final = 20.0  # seconds that a page's questions may take
_AT_ONCE: Final = 4  # pages whose questions are asked; the others wait
_STEPS: Final = 20_000  # of SQLite's machine, some milliseconds, between looks at the clock
_CANCELLED: Final = "57014"  # PostgreSQL: a statement's time is over
T = TypeVar("T")


class TooMuch(SidecarError):
    """Nobody's fault: what was asked for is more than a page may read."""


class Store:
    """Answers questions about the records. Each sees one state of them and changes nothing."""

    def __init__(self, settings: Settings, patience: float = PATIENCE) -> None:
        """`patience`: seconds for the questions of one page."""
        self._settings = settings
        self._patience = patience
        self._limiter = CapacityLimiter(_AT_ONCE)

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer. Raises `TooMuch`, `JournalUnavailable`, `StoreUnavailable`, `BadSetting`."""
        # A thread that is left alone at the end of the process has nothing to lose.
        return await to_thread.run_sync(self.answer, question, limiter=self._limiter, abandon_on_cancel=True)

    def answer(self, question: Callable[[Connection], T]) -> T:
        """The same on the caller's own thread."""
        with reading.store(self._settings) as engine, engine.connect() as connection, connection.begin():
            self._bound(connection)
            try:
                return question(connection)
            except DBAPIError as error:
                if _is_over(error):
                    msg = f"more than can be read in {self._patience:g} s"
                    raise TooMuch(msg) from None
                raise

    def _bound(self, connection: Connection) -> None:
        driver = connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            end = time.monotonic() + self._patience
            driver.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        else:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(self._patience * 1000)}")


def _is_over(error: DBAPIError) -> bool:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT
    return getattr(cause, "sqlstate", None) == _CANCELLED
