"""Log lines: JSON where a machine reads them, coloured where a person does. On standard error; never content.

    whoever logs ── write ──▶ lines waiting, so many at most ──▶ a thread ──▶ standard error

A reader that does not read, or a disk that takes its time, holds up the thread alone; what no longer fits is dropped,
counted, and told once something is taken again.
"""

import atexit
import fcntl
import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Final, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict

Format = Literal["", "json", "console"]

DROPPED: Final = "log lines were dropped: standard error took no more"
_STANDARD_ERROR: Final = 2
_MOST: Final = 16_777_216  # characters that wait: a few of the longest lines there are
_AT_ONCE: Final = 262_144  # characters
_LAST: Final = 1.0  # seconds for what waits when the process ends


class Patient:
    """A file that takes lines as it can. What it does not (its disk is full, its reader is gone) must harm nobody."""

    def __init__(self, file: TextIO, most: int = _MOST) -> None:
        """`most`: characters that wait, beyond which a line is dropped."""
        self._file = file
        self._descriptor = _descriptor(file)
        self._most = most
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, int]] = deque()  # each with the lines that are lost if it is
        self._size = 0  # characters that wait or are being written
        self.dropped = 0  # lines, not yet told of
        self._told = 0  # lines, which the thread tells of just now
        self._thread: threading.Thread | None = None

    def write(self, text: str) -> None:
        """Have a line written, or drop it. Never waits for the file."""
        if self._descriptor is None:  # a stream within this process
            with suppress(OSError, ValueError):
                self._file.write(text)
            return
        with self._changed:
            is_ours = threading.current_thread() is self._thread  # it says of nothing but what was dropped
            if self._size + len(text) > self._most and not is_ours:
                self.dropped += 1
                return
            self._waiting.append((text, self._told if is_ours else 1))
            self._size += len(text)
            self._begin()
            self._changed.notify_all()

    def flush(self) -> None:
        """Nothing: the thread does not hold anything back."""

    def drain(self, timeout: float) -> None:
        """Wait until everything is written, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, timeout)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                lines = list(self._batch())
            text = "".join(line for line, _ in lines)
            is_written = self._put(text.encode("utf-8", "backslashreplace"))
            with self._changed:
                self._size -= len(text)
                if is_written:
                    self._told, self.dropped = self.dropped, 0
                else:
                    self._told, self.dropped = 0, self.dropped + sum(lost for _, lost in lines)
                self._changed.notify_all()
            if self._told:
                structlog.get_logger().warning(DROPPED, lines=self._told)

    def _batch(self) -> Iterator[tuple[str, int]]:
        size = 0
        while self._waiting and (not size or size + len(self._waiting[0][0]) <= _AT_ONCE):
            size += len(self._waiting[0][0])
            yield self._waiting.popleft()

    def _put(self, data: bytes) -> bool:
        descriptor = cast("int", self._descriptor)
        try:
            with _alone(descriptor):
                while data:
                    data = data[_written(descriptor, data) :]
        except OSError:
            return False
        return True


def configure(form: Format = "", worker: str | None = None) -> None:
    """Set up the process's logging. Call early, and again once the settings are known, before anything is logged.

    `form`: "": for a person where standard error is a terminal, else JSON. `worker`: named in every line, whichever
    thread says it.
    """
    if sys.stderr is None:
        sys.stderr = _nowhere()
    structlog.configure(
        processors=[
            partial(_named, worker),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # In quotes, with escapes: what clients say must not steer a terminal.
            structlog.dev.ConsoleRenderer(repr_native_str=True)
            if is_read_by_a_person(form)
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _patient(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def is_read_by_a_person(form: Format) -> bool:
    """Whether what is logged is laid out for people, not for programs."""
    return form == "console" or (not form and sys.stderr.isatty())


def _nowhere() -> TextIO:
    """Standard error where whoever started us has closed it; children have it, too, and no other file its number."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STANDARD_ERROR)
    os.set_inheritable(_STANDARD_ERROR, True)  # noqa: FBT003 - as it is called
    return os.fdopen(_STANDARD_ERROR, "w")


def _named(worker: str | None, _: object, __: str, line: EventDict) -> EventDict:
    if worker is not None:
        line["worker"] = worker
    return line


def drain() -> None:
    """Have what was logged written, for a second at most: for a process that leaves without the interpreter's end."""
    _patient(sys.stderr).drain(_LAST)


@cache
def _patient(file: TextIO) -> Patient:
    patient = Patient(file)
    atexit.register(patient.drain, _LAST)
    return patient


def _descriptor(file: TextIO) -> int | None:
    try:
        return file.fileno()
    except (OSError, ValueError):
        return None


def _written(descriptor: int, data: bytes) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:  # who shares the descriptor has made it so
        select.select([], [descriptor], [])
        return 0


@contextmanager
def _alone(descriptor: int) -> Iterator[None]:
    """Keep the bridge's other processes from writing amid a line that is longer than a pipe takes at once (pipe(7))."""
    with suppress(OSError):
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.lockf(descriptor, fcntl.LOCK_UN)
