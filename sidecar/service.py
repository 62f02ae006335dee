"""The Recorder service, a process: sidecars send records, a database of its own keeps them.

sidecars ─ gRPC ─▶ servicer ─▶ gathering ─▶ one thread ─▶ SQLite │ PostgreSQL
"""

import asyncio
import os
import threading
import time
from contextlib import suppress
from datetime import date
from functools import partial
from typing import Final

import grpc
import structlog
import uvloop
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sidecar import logs
from sidecar.core.errors import BadSetting, SidecarError
from sidecar.recorder import reading, usage
from sidecar.recorder.batches import Store
from sidecar.recorder.erasure import retention
from sidecar.recorder.service import contract
from sidecar.recorder.service.certificates import credentials
from sidecar.recorder.service.gathering import Gathering
from sidecar.recorder.service.servicer import Recorder
from sidecar.settings import Service, Settings, host_and_port
from sidecar.settings.checks import is_loopback
from sidecar.signals import endings

log = structlog.get_logger()

GRACE: Final = 15.0  # seconds that what is under way has to end, once told to stop
_GOODBYE: Final = 0.5  # seconds for the last answers to go, after which streams (of health) are cut
CLOSING: Final = 2.0  # seconds for the store to close
_PING: Final = 60_000  # milliseconds of silence after which a client is asked whether it is still there
_STREAMS: Final = 64  # on one connection, beside batches


def serve(settings: Settings) -> None:
    """Take records until SIGTERM or ctrl-C, and answer what is under way then.

    Raises `BadSetting` when `recorder.url` is no database or the address cannot be had, `SidecarError` when it cannot
    start for another reason.
    """
    secured = credentials(settings.service)
    store = _store(settings)
    uvloop.run(_serve(settings, store, secured))


def warn(service: Service) -> None:
    """Log it where others than this machine reach the port and need no certificate."""
    if not is_loopback(host_and_port(service.listen)[0]) and service.client_ca_file is None:
        log.warning("whoever reaches the port may send records and ask for reports: service.client_ca_file is not set")


async def _serve(settings: Settings, store: Store, secured: grpc.ServerCredentials | None) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for order in endings():
        loop.add_signal_handler(order, stop.set)
    gathering = Gathering(store)
    recorder = Recorder(
        gathering=gathering,
        totals=partial(_totals, settings),
        most=settings.service.max_concurrent_batches,
    )
    server = await _listen(recorder, settings.service, secured)
    watch = asyncio.create_task(recorder.watch())
    log.info("ready", listen=settings.service.listen, store=settings.recorder.place)
    enough = threading.Event()
    # A daemon, as it may wait for a database; what it has not deleted the next does.
    threading.Thread(target=retention.keep, args=(settings, enough, time.time), name="retention", daemon=True).start()
    await _told(stop, gathering)
    enough.set()
    watch.cancel()
    await _drain(server, recorder)


async def _told(stop: asyncio.Event, gathering: Gathering) -> None:
    """Wait until told to stop. Raises `SidecarError` when there is nobody left who stores: a fault of ours."""
    either = [asyncio.create_task(event.wait()) for event in (stop, gathering.ended)]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    for task in either:
        task.cancel()
    if gathering.ended.is_set():
        msg = "the store's thread has ended by a fault, so nothing can be stored any more"
        raise SidecarError(msg)


async def _drain(server: aio.Server, recorder: Recorder) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(recorder.drain(), GRACE)
    unanswered = recorder.calls
    await server.stop(_GOODBYE)
    is_closed = recorder.gathering.close(CLOSING)
    log.info("stopped", unanswered=unanswered)
    if unanswered or not is_closed:
        # A thread may hang at the database for long; nobody was told that what it has is stored.
        logs.drain()
        os._exit(0)


async def _listen(recorder: Recorder, service: Service, secured: grpc.ServerCredentials | None) -> aio.Server:
    server = aio.server(
        options=[
            ("grpc.max_receive_message_length", service.max_batch_bytes),
            ("grpc.max_concurrent_streams", service.max_concurrent_batches + _STREAMS),
            ("grpc.keepalive_time_ms", _PING),
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers((recorder.handler(),))
    health_pb2_grpc.add_HealthServicer_to_server(recorder.health, server)
    names = (contract.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    try:
        if secured:
            server.add_secure_port(service.listen, secured)
        else:
            server.add_insecure_port(service.listen)
    except RuntimeError:
        msg = f"service.listen = {service.listen!r}: cannot be listened at"
        raise BadSetting(msg) from None
    warn(service)
    await server.start()
    return server


def _store(settings: Settings) -> Store:
    """The store, migrated. Raises `BadSetting`, `JournalUnavailable`, `StoreUnavailable`."""
    recorder = settings.recorder
    if recorder.kind == "sqlite":
        from sidecar.recorder.journal.migration import migrate  # noqa: PLC0415 - Alembic, which takes its time
        from sidecar.recorder.sqlite_store import SqliteStore  # noqa: PLC0415 - one of the two

        migrate(settings.database)
        return SqliteStore(settings.database)
    if recorder.kind == "postgresql":
        from sidecar.recorder.postgres import connection  # noqa: PLC0415 - psycopg
        from sidecar.recorder.postgres import store as postgres  # noqa: PLC0415 - psycopg

        connection.warn(recorder)
        postgres.migrate(recorder)
        return postgres.PostgresStore(recorder)
    msg = f"recorder.url = {recorder.url!r}: the Recorder service stores into sqlite:/// or postgresql://"
    raise BadSetting(msg)


def _totals(settings: Settings, since: date | None, until: date | None) -> usage.Totals:
    with reading.store(settings) as engine, engine.connect() as connection:
        return usage.totals(connection, since, until)
