"""One process's metrics: values in memory, and a thread that brings them to files which the parent reads.

The files are those of prometheus_client's multiprocess mode, but written, not mapped. A page of a mapped file can make
its process wait for a disk in trouble, with the interpreter's lock in its hand, so that every request waits too; and
when the disk is full it ends the process (SIGBUS).
"""

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

import structlog

from sidecar.settings import Settings
from sidecar.telemetry import labels as bounds
from sidecar.telemetry.metrics import Kind, Metric, Metrics, NoMetrics, folder
from sidecar.telemetry.pages import Page, keys, told

log = structlog.get_logger()

INTERVAL = 0.5  # seconds between two looks at what has changed
CLOSING = 0.2  # seconds that the last values may take to reach their files
# A gauge is summed over processes that live, and goes with its own (`forget`); what a dead one counted stays.
_FILES: dict[Kind, str] = {"counter": "counter", "gauge": "gauge_livesum", "histogram": "histogram"}


def opened(settings: Settings, process: str) -> Metrics:
    """The metrics of the process that has this name, without underscores, in its bridge: one at a time.

    It goes on counting where its predecessor ended. Where files cannot be made, a warning and nothing is kept: traffic
    matters more.
    """
    telemetry = settings.telemetry
    if not (telemetry.metrics or telemetry.otlp_endpoint):
        return NoMetrics()
    try:
        folder(settings).mkdir(mode=0o700, exist_ok=True)
        return Sheets(folder(settings), process, telemetry.max_label_values)
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
    """`Metrics` with a page for each kind. `most`: values of a label that others control, before they are `other`."""

    def __init__(self, directory: Path, process: str, most: int = 100) -> None:
        """Raises OSError when a file cannot be made."""
        self._lock = Lock()
        self._closing = Event()
        self._labels = bounds.Labels(most)
        self._keys: dict[tuple[Metric, Sequence[str]], Sequence[str]] = {}
        self._pages = {kind: Page(directory / _name(kind, process)) for kind in _FILES}
        self._pages["gauge"].clear()  # what was true of the predecessor
        self._restore()
        for page in self._pages.values():
            page.open()
        self._thread = Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def add(self, metric: Metric, amount: float = 1.0, labels: Sequence[str] = ()) -> None:
        """As `Metrics.add` says."""
        with self._lock:
            self._pages[metric.kind].add(self._series(metric, labels)[0], amount)

    def set(self, metric: Metric, value: float) -> None:
        """As `Metrics.set` says."""
        with self._lock:
            self._pages[metric.kind].set(self._series(metric, ())[0], value)

    def observe(self, metric: Metric, value: float, labels: Sequence[str] = ()) -> None:
        """As `Metrics.observe` says."""
        page, bucket = self._pages[metric.kind], 1 + bisect_left(metric.buckets, value)
        with self._lock:
            series = self._series(metric, labels)
            page.add(series[0], value)
            page.add(series[bucket], 1.0)

    def pour(self, metric: Metric, counts: Sequence[int], total: float, labels: Sequence[str] = ()) -> None:
        """As `Metrics.pour` says."""
        page = self._pages[metric.kind]
        with self._lock:
            series = self._series(metric, labels)
            page.add(series[0], total)
            for key, count in zip(series[1:], counts, strict=True):
                if count:
                    page.add(key, count)

    def close(self) -> None:
        """Bring the last values to their files; blocks for `CLOSING` at most."""
        self._closing.set()
        self._thread.join(CLOSING)

    def _series(self, metric: Metric, values: Sequence[str]) -> Sequence[str]:
        """The keys of a series. What others control is as bounded here as in the files."""
        return self._keys.get((metric, values)) or self._fitted(metric, values)

    def _fitted(self, metric: Metric, values: Sequence[str]) -> Sequence[str]:
        fit = self._labels.fit(metric, values)
        if metric.labels and (metric, fit) not in self._keys and not self._labels.has_room(metric):
            fit = bounds.without(metric, fit)
        return self._keys.get((metric, fit)) or self._begun(metric, fit)

    def _begun(self, metric: Metric, values: tuple[str, ...]) -> Sequence[str]:
        """Have a series there at 0."""
        self._labels.took(metric)
        series = self._keys[metric, values] = keys(metric, values)
        if metric.kind != "gauge":
            for key in series:
                self._pages[metric.kind].add(key, 0.0)
        return series

    def _restore(self) -> None:
        """Know what the predecessor had, also its labels: what it admitted counts, however often it is replaced.

        A counter without labels is there from the start, at 0: a rise from nothing is not seen as a rise.
        """
        for page in self._pages.values():
            for key in list(page.values):
                metric, values = told(key)
                if metric is not None and (metric, values) not in self._keys:
                    self._begun(metric, self._labels.fit(metric, values))
        for metric in Metric:
            if not metric.labels and metric.kind != "gauge" and (metric, ()) not in self._keys:
                self._begun(metric, ())

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL):
            self._write()
        self._write()
        for page in self._pages.values():
            page.close()

    def _write(self) -> None:
        for page in self._pages.values():
            with self._lock:
                page.draw()
            with suppress(OSError):  # a full disk, say: the next time, then
                page.write()


def _name(kind: Kind, process: str) -> str:
    return f"{_FILES[kind]}_{process}.db"
