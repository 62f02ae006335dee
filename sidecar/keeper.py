"""The journal's keeper, a process of its own: what is remote or slow never meets a request.

python -m sidecar.keeper     with a `KeeperAssignment` on standard input, which is open for as long as the parent lives

    main thread: beats, hears the order to stop     forwarder: journal ─▶ store     retention: deletes what is too old
    pushes: metrics ─▶ collector
"""

import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import structlog

from sidecar import logs
from sidecar.assignment import BEAT, TIME, KeeperAssignment
from sidecar.core.errors import BadSetting
from sidecar.recorder.batches import Store
from sidecar.recorder.forwarder import Bounds, Forwarder
from sidecar.settings import Settings
from sidecar.telemetry.metrics import Metrics, pushes, sheets
from sidecar.telemetry.metrics.watches import Forwarding

log = structlog.get_logger()

_WAY_OUT = 1.0  # seconds that are kept for the way out
_LAST = 5.0  # seconds at most for what is there when told to stop
_NICE = 5  # requests go first
KEEPER = "keeper"  # its name among the processes of a bridge


def main() -> None:
    """Do what standard input says, until told to stop or the parent is gone."""
    assignment: KeeperAssignment = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent, through a pipe
    logs.configure(assignment.settings.telemetry.log_format, KEEPER)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the parent's to hear
    os.nice(_NICE)
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))  # not `stop.set`, which may hold its own lock
    stop = threading.Event()
    metrics = sheets.opened(assignment.settings, KEEPER)
    threads = [threading.Thread(target=one, daemon=True) for one in work(assignment.settings, metrics, stop)]
    for thread in threads:
        thread.start()
    pushing = pushes.begun(assignment.settings, assignment.bridge, assignment.since, metrics)
    until = _until_told(assignment.ready, told, threads, _LAST + pushing.last)
    if not told:
        log.error("what moves the records on has ended, and with it this process: its successor goes on")
        logs.drain()
        os._exit(1)
    stop.set()
    for thread in threads:
        thread.join(max(0.0, until - pushing.last - time.monotonic()))
    metrics.close()
    pushed = pushing.close(max(0.0, min(pushing.last, until - time.monotonic())))
    if not pushed or any(thread.is_alive() for thread in threads):
        logs.drain()
        os._exit(0)  # what hangs at a store is done again by the next; nothing is lost by leaving it


def work(settings: Settings, metrics: Metrics, stop: threading.Event) -> Iterator[Callable[[], None]]:
    """What there is to do, each on a thread of its own until `stop` is set."""
    if settings.recorder.kind == "postgresql":
        from sidecar.recorder.postgres.connection import warn  # noqa: PLC0415

        with suppress(BadSetting):  # told of by who connects
            warn(settings.recorder)
    if settings.is_forwarded:
        yield _forwarder(settings, metrics, stop).run
    if settings.recorder.retention_days and settings.recorder.kind != "service":
        from sidecar.recorder.erasure.retention import keep  # noqa: PLC0415 - slow to import, and not everybody's

        yield partial(keep, settings, stop, time.time)


def _forwarder(settings: Settings, metrics: Metrics, stop: threading.Event) -> Forwarder:
    recorder = settings.recorder
    return Forwarder(
        settings.database,
        store=partial(_store, settings),
        bounds=Bounds(journal=recorder.max_journal_bytes, drops=recorder.when_full == "drop_oldest"),
        gauges=Forwarding(metrics),
        now=time.time,
        pause=stop.wait,
    )


def _store(settings: Settings) -> Store:
    # Slow to import, and only one of them is used.
    if settings.recorder.kind == "service":
        from sidecar.recorder.service.remote import RemoteStore  # noqa: PLC0415

        return RemoteStore(settings.recorder)
    from sidecar.recorder.postgres.store import PostgresStore, migrate  # noqa: PLC0415

    migrate(settings.recorder)
    return PostgresStore(settings.recorder)


def _until_told(ready: int, told: list[int], threads: Sequence[threading.Thread], most: float) -> float:
    """Say that it lives until told to stop, or the parent is gone, or one of the threads; `told` tells which.

    Return until when the end may take (monotonic time): `most` seconds, unless fewer are left.
    """
    os.set_blocking(ready, False)
    seconds = TIME
    while not told and all(thread.is_alive() for thread in threads):
        with suppress(OSError):  # nobody listens, or he has not for hours
            os.write(ready, b"\n")
        if select.select([sys.stdin], [], [], BEAT)[0]:
            said = os.read(sys.stdin.fileno(), 64)
            seconds = float(said or TIME)
            told.append(signal.SIGTERM)
    return time.monotonic() + max(0.0, min(most, seconds - _WAY_OUT))


if __name__ == "__main__":
    main()
