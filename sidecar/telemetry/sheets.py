"""One process's metrics: values in memory, and a thread that brings them to files which the parent reads.

The files are those of prometheus_client's multiprocess mode, but written, not mapped. A page of a mapped file can make
its process wait for a disk in trouble, with the interpreter's lock in its hand, so that every request waits too; and
when the disk is full it ends the process (SIGBUS).
"""

import json
import math
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Event, Lock, Thread

import structlog

from sidecar.settings import Settings
from sidecar.telemetry.metrics import Kind, Metric, Metrics, NoMetrics, folder

log = structlog.get_logger()

INTERVAL = 0.5  # seconds between two looks at what has changed
CLOSING = 0.2  # seconds that the last values may take to reach their files
# A gauge is summed over processes that live, and goes with its own (`forget`); what a dead one counted stays.
_FILES: dict[Kind, str] = {"counter": "counter", "gauge": "gauge_livesum", "histogram": "histogram"}
_HEADER = struct.Struct("ii")  # bytes in use, padding
_LENGTH = struct.Struct("i")
_VALUE = struct.Struct("dd")  # value, timestamp


def opened(settings: Settings, process: str) -> Metrics:
    """The metrics of the process that has this name, without underscores, in its bridge: one at a time.

    It goes on counting where its predecessor ended. Where files cannot be made, a warning and nothing is kept: traffic
    matters more.
    """
    if not settings.telemetry.metrics:
        return NoMetrics()
    try:
        folder(settings).mkdir(mode=0o700, exist_ok=True)
        return Sheets(folder(settings), process)
    except OSError as error:
        log.warning("metrics are not kept", setting="telemetry.metrics", reason=error.strerror)
        return NoMetrics()


def empty(settings: Settings) -> None:
    """Forget what an earlier bridge left in this runtime directory."""
    with suppress(OSError):  # who cannot delete it cannot make it either, and says so
        for file in folder(settings).glob("*.db"):
            file.unlink()


def forget(settings: Settings, process: str) -> None:
    """Its gauges are true no longer: it is dead. What it counted stays."""
    with suppress(OSError):
        (folder(settings) / _name("gauge", process)).unlink(missing_ok=True)


class Sheets:
    """`Metrics` with a file for each kind."""

    def __init__(self, directory: Path, process: str) -> None:
        """Raises OSError when a file cannot be made."""
        self._lock = Lock()
        self._closing = Event()
        self._sheets = {kind: Sheet(directory / _name(kind, process)) for kind in _FILES}
        self._sheets["gauge"].values.clear()  # what was true of the predecessor
        for metric in Metric:
            for key in _counted(metric):
                self._sheets[metric.kind].values.setdefault(key, 0.0)
        for sheet in self._sheets.values():
            sheet.open()
        self._thread = Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def add(self, metric: Metric, amount: float = 1.0) -> None:
        """Count so many more."""
        with self._lock:
            self._sheets[metric.kind].values[_key(metric)] += amount

    def set(self, metric: Metric, value: float) -> None:
        """Have a gauge at `value`."""
        with self._lock:
            self._sheets[metric.kind].values[_key(metric)] = value

    def observe(self, metric: Metric, value: float) -> None:
        """Put one more value into a histogram."""
        values = self._sheets[metric.kind].values
        with self._lock:
            values[_bucket(metric, bisect_left(metric.buckets, value))] += 1
            values[_key(metric, "_sum")] += value

    def close(self) -> None:
        """Bring the last values to their files; blocks for `CLOSING` at most."""
        self._closing.set()
        self._thread.join(CLOSING)

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL):
            self._write()
        self._write()
        for sheet in self._sheets.values():
            sheet.close()

    def _write(self) -> None:
        for sheet in self._sheets.values():
            with self._lock:
                content = sheet.content()
            with suppress(OSError):  # a full disk, say: the next time, then
                sheet.write(content)


class Sheet:
    """One file of values by their keys, as `prometheus_client.mmap_dict` has it: a header, then keys with values."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = b""
        self.values = dict(_entries(path.read_bytes())) if path.exists() else {}

    def open(self) -> None:
        """Have the file there, whole at once: who reads it must not find half of it."""
        self._written = self.content()
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(self._written)
        fresh.rename(self._path)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)

    def content(self) -> bytes:
        """The whole file as it should be."""
        entries = b"".join(_entry(key, value) for key, value in self.values.items())
        return _HEADER.pack(_HEADER.size + len(entries), 0) + entries

    def write(self, content: bytes) -> None:
        """Have the file hold `content`, which no entry goes from. May raise OSError: what is there is sound even so."""
        if content == self._written:
            return
        header, entries = content[: _HEADER.size], content[_HEADER.size :]
        if os.pwrite(self._file, entries, _HEADER.size) == len(entries):
            os.pwrite(self._file, header, 0)  # the last, for it says how much there is to read
            self._written = content

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def _name(kind: Kind, process: str) -> str:
    return f"{_FILES[kind]}_{process}.db"


@cache
def _key(metric: Metric, suffix: str = "", le: float | None = None) -> str:
    """As `prometheus_client.mmap_dict.mmap_key` has it. A family of counters is named without its `_total`."""
    family = metric.full_name.removesuffix("_total") if metric.kind == "counter" else metric.full_name
    labels = {} if le is None else {"le": "+Inf" if math.isinf(le) else repr(le)}
    return json.dumps([family, metric.full_name + suffix, labels, metric.text], sort_keys=True)


def _bucket(metric: Metric, index: int) -> str:
    return _key(metric, "_bucket", (*metric.buckets, math.inf)[index])


def _counted(metric: Metric) -> Iterator[str]:
    """The keys that are there from the start, at 0: a rise from nothing is not seen as a rise."""
    if metric.kind == "counter":
        yield _key(metric)
    if metric.kind == "histogram":
        yield _key(metric, "_sum")
        yield from (_bucket(metric, index) for index in range(len(metric.buckets) + 1))


def _entry(key: str, value: float) -> bytes:
    """The key's length, the key with blanks up to a multiple of 8, the value."""
    text = key.encode()
    return _LENGTH.pack(len(text)) + text + b" " * _blanks(text) + _VALUE.pack(value, 0.0)


def _entries(content: bytes) -> Iterator[tuple[str, float]]:
    used, _ = _HEADER.unpack_from(content)
    at = _HEADER.size
    while at < used:
        (length,) = _LENGTH.unpack_from(content, at)
        text = content[at + _LENGTH.size : at + _LENGTH.size + length]
        at += _LENGTH.size + length + _blanks(text)
        yield text.decode(), _VALUE.unpack_from(content, at)[0]
        at += _VALUE.size


def _blanks(text: bytes) -> int:
    return 8 - (len(text) + _LENGTH.size) % 8
