"""`aibridge-sidecar purge`: what is older than a day, or an actor's, deleted for good.

journal ─▶ store        in this order, in the forwarder's turn: nothing that is deleted can be on its way between them
"""

import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing, nullcontext
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table

from sidecar.core.errors import BadSetting
from sidecar.progress import counting
from sidecar.recorder import reading
from sidecar.recorder.batches import INTERCEPTIONS, TABLES
from sidecar.recorder.erasure import Counts, Erasure, Scope
from sidecar.recorder.erasure.sqlite import SqliteErasure
from sidecar.recorder.journal.turns import turn
from sidecar.settings import Settings

if TYPE_CHECKING:
    from sidecar.recorder.erasure.postgres import PostgresErasure

JOURNAL: Final = "journal"
STORE: Final = "store"
_OPEN: Final = "open, left"
_NOT_ASKED: Final = "expected --yes, or a terminal to ask at"
_NO_SCOPE: Final = "expected --before DATE, --actor ID, or both"
_ELSEWHERE: Final = "the Recorder service's own store is purged where the service runs, by the same command"
_NO_JOURNAL: Final = "there is no journal at {}: what the bridge that writes it has not yet forwarded is not deleted"
_AGAIN: Final = "open interceptions are left: run again when they have ended"


def purge(  # noqa: PLR0913 - the command's options
    settings: Settings,
    *,
    before: str | None = None,
    actor: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    vacuum: bool = False,
) -> None:
    """Delete the interceptions that started before that day (UTC) and are that actor's, and say what went.

    None for no limit, but not twice. `dry_run`: only say what would go. `yes`: do not ask. `vacuum`: rewrite a SQLite
    file however large it is. Raises `BadSetting`, `JournalUnavailable`, `StoreUnavailable`; `click.Abort` for a no.
    """
    scope = _scope(before, actor)
    if not (dry_run or yes or (sys.stdin and sys.stdin.isatty())):
        raise BadSetting(_NOT_ASKED)
    with ExitStack() as stack:
        places = _Places(settings, stack)
        planned = places.count(scope)
        if dry_run:
            _show("would be deleted", planned)
        else:
            if not yes and any(counts.rows for counts in planned.values()):
                _show("to be deleted", planned)
                click.confirm("Delete them?", abort=True, err=True)
            gone = places.erase(scope, planned)
            notes = places.settle(rewrite=vacuum)  # before anything is said: nobody may be there to hear it
            _show("deleted", gone)
            for note in notes:
                click.echo(note)
    if settings.is_forwarded and JOURNAL not in planned:
        click.echo(_NO_JOURNAL.format(settings.database), err=True)
    if settings.recorder.kind == "service":
        click.echo(_ELSEWHERE)


class _Places:
    """The stores that can be reached from here. What is forwarded may be in the journal, in the store, in both."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._database = settings.database
        self._journal: SqliteErasure | None = None
        self._store: PostgresErasure | None = None
        self._all: dict[str, Erasure] = {}
        if settings.database.exists() or not settings.is_forwarded:
            self._journal = stack.enter_context(closing(SqliteErasure(settings.database)))
            self._all[JOURNAL if settings.is_forwarded else STORE] = self._journal
        if settings.recorder.kind == "postgresql":
            from sidecar.recorder.erasure import postgres as erasure_postgres  # noqa: PLC0415 - psycopg

            store = erasure_postgres.PostgresErasure(settings.recorder)
            self._store = self._all[STORE] = stack.enter_context(closing(store))
        self._is_forwarded = settings.is_forwarded and self._journal is not None

    def count(self, scope: Scope) -> dict[str, Counts]:
        """What would go, by place."""
        return {name: place.count(scope) for name, place in self._all.items()}

    def erase(self, scope: Scope, planned: Mapping[str, Counts]) -> dict[str, Counts]:
        """Delete it, by place."""
        total = sum(counts.rows.get(INTERCEPTIONS, 0) for counts in planned.values())
        gone = {name: Counts() for name in self._all}
        with counting(total) as progress:
            for name, place in self._all.items():
                is_on_its_way = self._is_forwarded and place is self._journal
                # Nothing that is deleted here can be on its way to the store any more, where it may take hours.
                with turn(self._database) if is_on_its_way else nullcontext():
                    if is_on_its_way and self._store:
                        gone[STORE] += self._ended_here(scope)
                    gone[name] += place.erase(scope, _pause, progress)
        return gone

    def settle(self, *, rewrite: bool) -> list[str]:
        """Nothing of it shall stay in the files; returns what is to be told where that cannot be."""
        notes = [place.settle(_pause, rewrite=rewrite) for place in self._all.values()]
        return [note for note in notes if note]

    def _ended_here(self, scope: Scope) -> Counts:
        """The store may have been shown an interception while it was open, and its end be still in the journal.

        Once the journal's is deleted nobody would ever end the store's: it goes first.
        """
        if self._store is None or self._journal is None:
            return Counts()
        return self._store.forget(self._journal.ended(self._store.opened(scope)), _pause)


def _scope(before: str | None, actor: str | None) -> Scope:
    if before is None and actor is None:
        raise BadSetting(_NO_SCOPE)
    day = reading.day("--before", before)
    return Scope(before=datetime.combine(day, time.min, UTC) if day else None, actor=actor)


def _pause(seconds: float) -> bool:
    return threading.Event().wait(seconds)  # ctrl-C ends it


def _show(title: str, counts: Mapping[str, Counts]) -> None:
    shown = Table(title=title, title_justify="left")
    shown.add_column("table")
    for name in counts:
        shown.add_column(name, justify="right")
    for table in TABLES:
        shown.add_row(table, *(f"{there.rows.get(table, 0):,}" for there in counts.values()))
    shown.add_section()
    shown.add_row(_OPEN, *(f"{there.left:,}" for there in counts.values()))
    Console().print(shown)
    if any(there.left for there in counts.values()):
        click.echo(_AGAIN)
