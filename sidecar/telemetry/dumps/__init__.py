"""Dumps as files: what the server shows goes to a thread, so many bytes at most, and that does the rest.

event loop ── seen, chunk, close ──▶ queue ──▶ thread: masks, formats ──▶ files
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from sidecar.core.events import Body, Event
from sidecar.core.records import Started
from sidecar.core.replies import Forward, Observe, Refuse, Step
from sidecar.settings import Settings
from sidecar.telemetry.dumps.exchange import Exchange, Plan
from sidecar.telemetry.dumps.shelf import Shelf

log = structlog.get_logger()

_MOST: Final = 67_108_864  # bytes that wait to be written, or for the rest of their body
_ITEM: Final = 2048  # bytes of what is shown beside a body: about
_TIDY: Final = 60.0  # seconds between two looks for what is too old, or less where little is
_OLDEST: Final = 10  # parts of the age that a dump may have
_QUIET: Final = 60.0  # seconds between two tellings: on a disk that is nearly full some dumps fit and others do not


def opened(settings: Settings) -> "FileDumps":
    """The dumps that `dump.dir` asks for."""
    dump, limits, root = settings.dump, settings.limits, settings.dump.dir
    if root is None:
        msg = "dump.dir is not set"
        raise ValueError(msg)
    age = dump.max_age_hours * 3600
    policy = settings.policy()
    secret = {name for one in policy.providers.values() for name in (one.auth_header, *one.extra_headers)}
    plan = Plan(
        shelf=Shelf(root, most=dump.max_bytes, age=age, workers=settings.workers, now=time.time),
        gate=settings.gate(),
        providers=policy.providers,
        masked=frozenset(name.lower().replace("_", "-") for name in (*dump.masked_headers, *secret)),
        file_bytes=min(dump.max_file_bytes, dump.max_bytes // 4),
        decoded_bytes=max(limits.max_request_bytes, limits.max_response_bytes),
        event_bytes=limits.max_event_bytes,
    )
    return FileDumps(plan, tidy=min(_TIDY, age / _OLDEST))


class FileDumps:
    """The thread and its queue."""

    def __init__(self, plan: Plan, *, tidy: float) -> None:
        """`tidy`: seconds between two looks for what is too old."""
        self._plan = plan
        self._tidy = tidy
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Exchange, int, Callable[[], object]]] = deque()
        self.size = 0  # bytes that wait or are held
        self._dropped = 0
        self._closing = False
        self._is_troubled = False  # and that was told
        self._told_at = -_QUIET
        self._thread = threading.Thread(target=self._run, name="dumps", daemon=True)
        self._thread.start()

    def begin(self, interception: str) -> "FileDump":
        """The dump of this interception."""
        return FileDump(self, Exchange(self._plan, interception))

    def put(self, exchange: Exchange, size: int, work: Callable[[], object]) -> bool:
        """Have it done on the thread; False where too much waits."""
        with self._changed:
            if self.size + size > _MOST:
                self._dropped += 1
                return False
            self._waiting.append((exchange, size, work))
            self.size += size
            self._changed.notify()
            return True

    def close(self, timeout: float) -> None:
        """Write what is waiting, for at most `timeout` seconds; blocks so long. Safe to call twice."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        self._attempt(self._plan.shelf.tidy)
        tidied = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing, self._tidy)
                item = self._waiting.popleft() if self._waiting else None
                is_last = self._closing and item is None
            if is_last:
                return
            if item is not None:
                self._do(*item)
            if time.monotonic() - tidied >= self._tidy:
                self._attempt(self._plan.shelf.tidy)
                tidied = time.monotonic()

    def _do(self, exchange: Exchange, size: int, work: Callable[[], object]) -> None:
        held = exchange.held
        self._attempt(work)
        with self._changed:
            self.size -= size - (exchange.held - held)
            dropped = 0 if self._waiting else self._dropped
            self._dropped -= dropped
        if dropped:
            log.warning("dumps are incomplete: more came than could be written", pieces=dropped)

    def _attempt(self, work: Callable[[], object]) -> None:
        before = self._plan.shelf.written
        try:
            work()
        except OSError as error:
            now = time.monotonic()
            if not self._is_troubled and now - self._told_at >= _QUIET:
                log.warning("dumps cannot be written, they are left out", setting="dump.dir", reason=error.strerror)
                self._is_troubled, self._told_at = True, now
        else:
            if self._is_troubled and self._plan.shelf.written > before:
                log.warning("dumps are written again")
                self._is_troubled = False


class FileDump:
    """The dump of one request with its response."""

    __slots__ = ("_dumps", "_is_over", "exchange")

    def __init__(self, dumps: FileDumps, exchange: Exchange) -> None:
        self._dumps = dumps
        self.exchange = exchange
        self._is_over = False

    def seen(self, event: Event, step: Step) -> None:
        """`event` came, and `step` followed."""
        verdict = next((reply for reply in step.replies if isinstance(reply, Forward | Refuse)), None)
        if isinstance(verdict, Forward) and verdict.observe is Observe.HEADERS:
            self._is_over = True  # a passthrough: no model, and nobody shows us its bodies
        started = next((record for record in step.records if isinstance(record, Started)), None)
        size = len(event.data) if isinstance(event, Body) else 0
        self._put(size + _ITEM, partial(self.exchange.take, event, started, verdict))

    def chunk(self, data: bytes) -> None:
        """A chunk of the response came that tells the reader nothing."""
        self._put(len(data) + _ITEM, partial(self.exchange.chunk, data))

    def close(self) -> None:
        """Nothing more will come. Safe to call twice."""
        self._put(0, self.exchange.close)
        self._is_over = True

    def _put(self, size: int, work: Callable[[], object]) -> None:
        if not self._is_over and not self._dumps.put(self.exchange, size, work):
            # What lacks a piece is no dump; its last word still fits.
            self._dumps.put(self.exchange, 0, partial(self.exchange.close, "more came than could be written"))
            self._is_over = True
