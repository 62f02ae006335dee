"""One worker: everything put together, started and stopped in order.

python -m sidecar.app     with an `Assignment` on standard input, which stays open for as long as the parent lives
"""

import asyncio
import gc
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import structlog
import uvloop

from sidecar import logs
from sidecar.assignment import BEAT, TIME, Assignment
from sidecar.core.errors import SidecarError
from sidecar.core.records import Record
from sidecar.ids import Ids
from sidecar.pulse import Pulse
from sidecar.recorder.journal.group_commit import LAST_TRY, Journal
from sidecar.recorder.journal.room import Room
from sidecar.recorder.rows import moment
from sidecar.server import Processor
from sidecar.serving import Server, listen
from sidecar.settings import Settings
from sidecar.settings.keys import Keys
from sidecar.telemetry.batching import Batch
from sidecar.telemetry.dumping import Dumps, NoDumps
from sidecar.telemetry.lines import Lines
from sidecar.telemetry.metrics import Metric, Metrics, NoMetrics
from sidecar.telemetry.metrics.counting import Counting
from sidecar.telemetry.metrics.meters import Meters
from sidecar.telemetry.metrics.operations import Operations, servers
from sidecar.telemetry.metrics.sheets import CLOSING, opened
from sidecar.telemetry.metrics.watches import Journaling
from sidecar.telemetry.traces.configure import configure

log = structlog.get_logger()

GRACE = 10.0  # seconds that streams under way have to end, once told to stop
_ENDS = 1.0  # seconds at least for the commits of what was cut
_TRACES = 1.0  # seconds for the last spans
_DUMPS = 0.5  # seconds for the last of the dumps
LAST = LAST_TRY + _TRACES + _DUMPS + CLOSING + 0.5  # seconds for what follows the last commits, and the way out


def main() -> None:
    """Do what standard input says, until told to stop or the parent is gone."""
    assignment: Assignment = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent, through a pipe
    logs.configure(assignment.settings.telemetry.log_format, assignment.worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the parent's to hear
    try:
        uvloop.run(_serve(assignment))
    except SidecarError as error:
        log.error("worker cannot start", reason=str(error))  # noqa: TRY400 - one line; the trace says nothing more
        sys.exit(1)


async def _serve(assignment: Assignment) -> None:
    with closing(opened(assignment.settings, assignment.socket.stem)) as metrics:
        await _work(assignment, metrics)


async def _work(assignment: Assignment, metrics: Metrics) -> None:
    settings, loop = assignment.settings, asyncio.get_running_loop()
    stop = Stop(loop)
    ids = Ids(time.time)
    watch = Journaling(metrics, _measured(assignment))
    batch = Batch(loop.call_later)
    meters = _meters(settings, metrics, batch)
    metrics.add(Metric.WORKER_STARTS_TOTAL)
    journal = Journal(settings.database, worker=assignment.worker, new_id=ids, now=time.time, watch=watch)
    journal.open(loop)
    room = _room(settings)
    traces = configure(settings, assignment.worker, metrics)
    dumps = _dumps(settings)
    pulse = Pulse(time.monotonic)
    keys = Keys(settings)
    keys.look()
    processor = Processor(
        policy=keys.policy,
        submit=journal.submit,
        now=time.time,
        new_id=ids,
        traces=traces,
        pulse=pulse,
        verdict=settings.verdict,
        start_timeout=settings.limits.start_commit_timeout,
        end_timeout=settings.limits.end_commit_timeout,
        inflight_bytes=settings.limits.max_inflight_bytes,
        pending=lambda: journal.pending_bytes,
        is_full=lambda: room is not None and room.is_full,
        cuts=settings.recorder.on_worker_loss == "cut",
        metrics=metrics,
        meters=meters,
        gate=settings.gate(),
        observers=(*_observers(settings), *(() if meters is None else (meters.hear,))),
        dumps=dumps,
    )
    heart = asyncio.create_task(pulse.beat())
    server = await listen(processor, assignment.socket, settings.grpc_server)
    gc.freeze()  # what is here now stays: no collection need look at it again
    measure = partial(_measure, metrics, journal, processor)
    beats = asyncio.create_task(_beat(assignment.ready, room, measure))
    looks = asyncio.create_task(_look(keys, processor))
    await stop.told.wait()
    await _drain(server, processor, min(GRACE, stop.left() - LAST - _ENDS))
    heart.cancel()
    beats.cancel()
    looks.cancel()
    unwritten = journal.close(max(0.0, stop.left() - LAST))
    if unwritten:
        log.error("records not written at the end", records=unwritten)
    batch.make()
    traces.close(_TRACES)
    dumps.close(_DUMPS)


async def _beat(ready: int, room: Room | None, measure: Callable[[], None]) -> None:
    """Say that it serves, and go on saying so: whoever hears nothing knows that this loop stands still."""
    os.set_blocking(ready, False)
    while True:
        with suppress(OSError):  # nobody listens, or he has not for hours
            os.write(ready, b"\n")
        measure()
        if room is not None:
            await asyncio.to_thread(room.look)
        await asyncio.sleep(BEAT)


async def _look(keys: Keys, processor: Processor) -> None:
    """Have requests that come later use the keys that are there now."""
    while True:
        await asyncio.sleep(BEAT)
        await asyncio.to_thread(keys.look)
        processor.policy = keys.policy


def _measure(metrics: Metrics, journal: Journal, processor: Processor) -> None:
    metrics.set(Metric.WORKERS, 1)
    metrics.set(Metric.JOURNAL_PENDING_RECORDS, journal.pending)
    metrics.set(Metric.JOURNAL_PENDING_BYTES, journal.pending_bytes)
    metrics.set(Metric.OPEN_STREAMS, processor.streams)
    metrics.set(Metric.HELD_BYTES, processor.held)


def _observers(settings: Settings) -> list[Callable[[Sequence[Record]], None]]:
    """Who else hears of the records."""
    return [Lines(moment)] if settings.telemetry.log_records else []


def _meters(settings: Settings, metrics: Metrics, batch: Batch) -> Meters | None:
    """What measures streams and counts what they are about; None where nobody wants to know."""
    if isinstance(metrics, NoMetrics):
        return None
    operations = Operations(metrics, servers(settings), upcoming=settings.telemetry.profile == "genai-next")
    counting = Counting(metrics, operations, by_actor=settings.telemetry.actor_label)
    return Meters(metrics, counting, time.perf_counter, batch.put)


def _measured(assignment: Assignment) -> Path | None:
    """The journal, where this worker is the one that tells its size: one of all does, unless the keeper does."""
    settings = assignment.settings
    is_first = assignment.socket == settings.socket(0)
    return settings.database if is_first and not settings.is_forwarded else None


def _dumps(settings: Settings) -> Dumps:
    if settings.dump.dir is None:
        return NoDumps()
    from sidecar.telemetry import dumps  # noqa: PLC0415 - time and memory, for those who want dumps

    return dumps.opened(settings)


def _room(settings: Settings) -> Room | None:
    """What is known of a journal that may not grow beyond its bound; None where it may, or drops its oldest."""
    recorder = settings.recorder
    if settings.is_forwarded and recorder.when_full == "refuse":
        return Room(settings.database, recorder.max_journal_bytes)
    return None


class Stop:
    """The order to stop: SIGTERM, on standard input the seconds that are left for it, or its end: no parent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.told = asyncio.Event()
        self._loop = loop
        self._until = float("inf")
        loop.add_signal_handler(signal.SIGTERM, self._tell, TIME)
        loop.add_reader(sys.stdin.fileno(), self._hear)

    def left(self) -> float:
        """Seconds until it must be done."""
        return self._until - self._loop.time()

    def _hear(self) -> None:
        said = os.read(sys.stdin.fileno(), 64)
        if not said:
            self._loop.remove_reader(sys.stdin.fileno())
        self._tell(float(said or TIME))

    def _tell(self, seconds: float) -> None:
        self._until = min(self._until, self._loop.time() + seconds)
        self.told.set()


async def _drain(server: Server, processor: Processor, seconds: float) -> None:
    """Take nothing new, let what is under way end, then cut it: Envoy goes on with it alone."""
    await server.enter_graceful_shutdown()
    with suppress(TimeoutError):
        await asyncio.wait_for(processor.idle.wait(), seconds)
    processor.stopping = True
    await server.stop(0.2)


if __name__ == "__main__":
    main()
