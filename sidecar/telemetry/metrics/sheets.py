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
from sidecar.telemetry.metrics import Kind, Metric, Metrics, NoMetrics, folder
from sidecar.telemetry.metrics import labels as bounds
from sidecar.telemetry.metrics.pages import Page, keys, told

log = structlog.get_logger()

INTERVAL = 0.5  # seconds between two looks at what has changed
CLOSING = 0.2  # seconds that the last values may take to reach their files
Series = tuple[Page, dict[Sequence[str], int]]
# A gauge is summed over processes that live, and goes with its own (`forget`); what a dead one counted stays.
_FILES: dict[Kind, str] = {"counter": "counter", "gauge": "gauge_livesum", "histogram": "histogram"}


def opened(settings: Settings, process: str) -> Metrics:
    """The metrics of the process that has this name, without underscores, in its bridge: one at a time.

    It goes on counting where its predecessor ended. Where files cannot be made, a warning and nothing is kept: traffic
    matters more.
    """
    telemetry = settings.telemetry
    if not (telemetry.metrics or telemetry.pushes_metrics):
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

    def __init__(self, directory: Path, process: str, most: int) -> None:
        """Raises OSError when a file cannot be made."""
        self._lock = Lock()
        self._closing = Event()
        self._labels = bounds.Labels(most)
        self._pages = {kind: Page(directory / _name(kind, process)) for kind in _FILES}
        # Of each metric: where its values are, and the first slot of each series.
        self._series: dict[Metric, Series] = {metric: (self._pages[metric.kind], {}) for metric in Metric}
        self._pages["gauge"].clear()  # what was true of the predecessor
        self._restore()
        for page in self._pages.values():
            page.open()
        self._thread = Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def add(self, metric: Metric, amount: float = 1.0, labels: Sequence[str] = ()) -> None:
        """As `Metrics.add` says."""
        page, series = self._series[metric]
        with self._lock:
            slot = series[labels] if labels in series else self._fitted(metric, labels)
            page.values[slot] += amount
            page.changed.add(slot)

    def set(self, metric: Metric, value: float) -> None:
        """As `Metrics.set` says."""
        page, series = self._series[metric]
        with self._lock:
            slot = series[()] if series else self._fitted(metric, ())
            page.values[slot] = value
            page.changed.add(slot)

    def observe(self, metric: Metric, value: float, labels: Sequence[str] = ()) -> None:
        """As `Metrics.observe` says."""
        page, series = self._series[metric]
        bucket = 1 + bisect_left(metric.buckets, value)
        with self._lock:
            slot = series[labels] if labels in series else self._fitted(metric, labels)
            page.values[slot] += value
            page.values[slot + bucket] += 1.0
            page.changed |= {slot, slot + bucket}

    def pour(self, metric: Metric, counts: Sequence[int], total: float, labels: Sequence[str]) -> None:
        """As `Metrics.pour` says."""
        page, series = self._series[metric]
        with self._lock:
            first = series[labels] if labels in series else self._fitted(metric, labels)
            for slot, amount in enumerate((total, *counts), first):
                if amount:
                    page.values[slot] += amount
                    page.changed.add(slot)

    def close(self) -> None:
        """Bring the last values to their files; blocks for `CLOSING` at most."""
        self._closing.set()
        self._thread.join(CLOSING)

    def _fitted(self, metric: Metric, values: Sequence[str]) -> int:
        """The first slot of a series. What others control is as bounded here as in the files."""
        _, series = self._series[metric]
        fit = self._labels.fit(metric, values)
        if metric.labels and fit not in series and not self._labels.has_room(metric):
            fit = bounds.without(metric, fit)
        return series[fit] if fit in series else self._begun(metric, fit)

    def _begun(self, metric: Metric, values: Sequence[str]) -> int:
        """Have a series there, at 0 or at what the predecessor had."""
        self._labels.took(metric)
        page, series = self._series[metric]
        slot = series[values] = page.begin(keys(metric, values))
        return slot

    def _restore(self) -> None:
        """Know what the predecessor had, also its labels: what it admitted counts, however often it is replaced.

        A counter without labels is there from the start, at 0: a rise from nothing is not seen as a rise.
        """
        for page in self._pages.values():
            for key in page.found:
                metric, values = told(key)
                if metric is not None and (fit := self._labels.fit(metric, values)) not in self._series[metric][1]:
                    self._begun(metric, fit)
            page.begin(page.found)  # what another version counted, say
        for metric in Metric:
            if not metric.labels and metric.kind != "gauge" and () not in self._series[metric][1]:
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
