"""`up` and `serve`: the workers, and Envoy in front of them, as children of one parent.

    migrate, end what a crash left open ─▶ workers ─▶ Envoy ─▶ ready ─▶ … SIGTERM ─▶ drain ─▶ Envoy ─▶ workers
                                             keeper                                                  ─▶ keeper

A child that ends is replaced; a worker's open interceptions are ended first. The parent touches no traffic.
"""

import asyncio
import secrets
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import structlog

from sidecar import premises
from sidecar.admin import Envoy
from sidecar.assignment import TIME
from sidecar.children import EnvoyChild, Keeper, Worker, asked
from sidecar.core.errors import JournalUnavailable
from sidecar.core.records import Ended
from sidecar.ids import Ids
from sidecar.recorder.journal.connection import BUSY
from sidecar.recorder.journal.owners import owning
from sidecar.recorder.journal.recovery import PATIENCE, abandoned, end_lost
from sidecar.recorder.rows import moment
from sidecar.rotation import LOOK, Rotation
from sidecar.settings import Settings
from sidecar.signals import endings
from sidecar.telemetry.lines import Lines
from sidecar.telemetry.metrics import sheets
from sidecar.telemetry.metrics.scrapes import Scrapes

log = structlog.get_logger()

_STOP = TIME  # seconds from the order to stop until the last child is gone
_DRAIN = 11.0  # of these for requests under way to end; the rest is for Envoy, and for what the journal still lacks
_POLL = 0.1


def up(settings: Settings) -> None:
    """Run Envoy and the workers until SIGTERM or ctrl-C; a second one does not wait for requests under way.

    Ends within 20 s. Raises SidecarError, with nothing left running, when something cannot be started.
    """
    premises.close_to_others()
    binary = premises.envoy(settings)
    with premises.runtime_dir(settings) as lock:
        premises.ports(settings)
        premises.store(settings)
        premises.dumps(settings)
        rotation = Rotation(settings.model_copy(update={"verdict": secrets.token_hex(16)}))
        for name in endings():  # until the bridge takes them: no secret is left behind
            signal.signal(name, lambda *_: sys.exit(1))
        try:
            rotation.begin()
            asyncio.run(Bridge(rotation, binary, lock).run())
        finally:
            rotation.end()


def serve(settings: Settings) -> None:
    """Run the workers alone, for an Envoy that is there already. Otherwise like `up`."""
    premises.close_to_others()
    with premises.runtime_dir(settings) as lock:
        premises.store(settings)
        premises.dumps(settings)
        rotation = Rotation(settings, proves=False)
        rotation.begin()  # and never ended: an Envoy that starts while we do not run finds its files
        asyncio.run(Bridge(rotation, None, lock).run())


class Bridge:
    """Everything that runs for one configuration."""

    def __init__(self, rotation: Rotation, binary: Path | None, lock: int) -> None:
        """`binary`: the Envoy to run in front; None: none. `lock`: the descriptor that holds the runtime directory."""
        self._rotation = rotation
        self._settings = settings = rotation.settings
        self._lock = lock
        self._owner = secrets.token_hex(4)
        name = f"{socket.gethostname()}:{settings.listen}:{self._owner}"
        self._name = name
        self._names = [f"{name}:{index}" for index in range(settings.workers)]
        self._workers: list[Worker] = []
        self._keepers: list[Keeper] = []  # one, or none
        self._envoy = Envoy(settings)
        self._front = [] if binary is None else [EnvoyChild(settings, binary, self._envoy)]
        self._scrapes = Scrapes(settings)
        self._told = asyncio.Event()
        self._told_at = 0.0  # loop time
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Start everything, keep it running, and end it when told to. Raises SidecarError."""
        for name in endings():
            asyncio.get_running_loop().add_signal_handler(name, self._tell)
        _warn_of_missing_keys(self._settings)
        sheets.empty(self._settings)
        began = time.time()
        database = self._settings.database
        await _migrate(database)
        with owning(database, self._owner) as lock:
            await self._end_lost(*await asyncio.to_thread(abandoned, database))
            self._workers = [
                Worker(self._settings, index, name, self._end_lost, locks=(self._lock, lock))
                for index, name in enumerate(self._names)
            ]
            if self._settings.needs_keeper:
                self._keepers = [Keeper(self._settings, bridge=self._name, since=began, locks=(self._lock,))]
            await self._run()

    async def _run(self) -> None:
        living = asyncio.create_task(self._live())
        told = asyncio.create_task(self._told.wait())
        try:
            await asyncio.wait((living, told), return_when=asyncio.FIRST_COMPLETED)
            if living.done():
                living.result()
        finally:
            await self._end()
            for task in (living, told):
                task.cancel()
            await asyncio.gather(living, told, return_exceptions=True)

    async def _live(self) -> None:
        if self._told.is_set():
            return
        await asyncio.gather(*(child.start() for child in (*self._workers, *self._keepers)))
        for child in self._front:
            await child.start()
        await self._scrapes.open()  # after Envoy: traffic matters more, should both want one port
        if not self._told.is_set():
            settings = self._settings
            log.info("ready", listen=settings.listen, workers=len(self._workers), records=settings.recorder.place)
        await asyncio.gather(
            self._rotate(), *(child.keep() for child in (*self._workers, *self._keepers, *self._front))
        )

    async def _rotate(self) -> None:
        while not self._told.is_set():
            await asyncio.sleep(LOOK)
            if await asyncio.to_thread(self._rotation.look):
                for worker in self._workers:
                    worker.renew(self._rotation.settings)

    async def _end(self) -> None:
        """Turn new clients away, let what is under way end, then stop Envoy, and the workers behind it."""
        log.info("stopping")
        if not self._told.is_set():
            self._tell()
        until = self._told_at + _STOP
        for child in self._front:
            if child.is_running():
                await self._drain()
            await child.stop(until)
        await asyncio.gather(*(child.stop(until) for child in self._workers))
        left = until - asyncio.get_running_loop().time()
        await self._end_lost(*self._names, patience=min(PATIENCE, max(BUSY, left)))
        await asyncio.gather(*(child.stop(until) for child in self._keepers))  # last: it forwards what is there now
        self._scrapes.close()

    async def _drain(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._told_at + _DRAIN):
                await self._envoy.turn_away()
                while not self._hurry.is_set() and await self._envoy.active():  # noqa: ASYNC110 - Envoy tells who asks
                    await asyncio.sleep(_POLL)

    def _tell(self) -> None:
        if self._told.is_set():
            self._hurry.set()
        else:
            self._told_at = asyncio.get_running_loop().time()
            self._told.set()

    async def _end_lost(self, *workers: str, patience: float = PATIENCE) -> None:
        """End what they left open; where the journal is out of reach, the next start does."""
        try:
            records = await asyncio.to_thread(
                end_lost, self._settings.database, workers, at=time.time(), new_id=Ids(time.time), patience=patience
            )
        except JournalUnavailable as error:
            log.warning("interceptions left open could not be ended", reason=str(error))
            return
        if self._settings.telemetry.log_records:
            Lines(moment)(records)
        if ended := sum(isinstance(record, Ended) for record in records):
            log.warning("interceptions left open were ended as lost", workers=workers, interceptions=ended)


async def _migrate(database: Path) -> None:
    """Have the journal migrated, elsewhere: what does it would stay in our memory. Raises JournalUnavailable."""
    status, printed = await asked("sidecar.recorder.journal.migration", database)
    if status:
        reason = printed.decode() or f"journal {database}: it could not be migrated"
        raise JournalUnavailable(reason)


def _warn_of_missing_keys(settings: Settings) -> None:
    for index, provider in enumerate(settings.providers):
        if not (provider.api_key or provider.api_key_file):
            log.warning(
                "no key for a provider: only clients that bring their own are served",
                provider=provider.name,
                setting=f"providers[{index}].api_key",
            )
