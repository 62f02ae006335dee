"""What the journal and the forwarder tell of themselves, as metrics."""

from contextlib import suppress
from pathlib import Path

from sidecar.telemetry.metrics import Metric, Metrics


class Journaling:
    """A `Watch` (recorder.journal.watch) that counts.

    `database`: the file whose size it tells; None: somebody else does.
    """

    def __init__(self, metrics: Metrics, database: Path | None) -> None:
        self._metrics = metrics
        self._database = database

    def committed(self, seconds: float) -> None:
        """A batch is durable, so long after the first try."""
        self._metrics.add(Metric.JOURNAL_COMMITS_TOTAL)
        self._metrics.observe(Metric.JOURNAL_COMMIT_SECONDS, seconds)
        if self._database is not None:
            with suppress(OSError):
                self._metrics.set(Metric.JOURNAL_BYTES, self._database.stat().st_size)

    def stalled(self) -> None:
        """The file cannot be written."""
        self._metrics.add(Metric.JOURNAL_STALLS_TOTAL)

    def unfit(self, records: int) -> None:
        """So many were left out."""
        self._metrics.add(Metric.RECORDS_UNFIT_TOTAL, records)


class Forwarding:
    """`Gauges` (recorder.forwarder) that are shown."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def backlog(self, *, interceptions: int, oldest_seconds: float, size: int) -> None:
        """How much is not forwarded, since when, and how many bytes of the journal are in use."""
        self._metrics.set(Metric.UNFORWARDED_INTERCEPTIONS, interceptions)
        self._metrics.set(Metric.UNFORWARDED_OLDEST_SECONDS, oldest_seconds)
        self._metrics.set(Metric.JOURNAL_BYTES, size)

    def forwarded(self, interceptions: int) -> None:
        """So many more are."""
        self._metrics.add(Metric.FORWARDED_INTERCEPTIONS_TOTAL, interceptions)

    def failed(self) -> None:
        """A batch could not be forwarded."""
        self._metrics.add(Metric.FORWARD_FAILURES_TOTAL)

    def dropped(self, interceptions: int) -> None:
        """So many were deleted unforwarded."""
        self._metrics.add(Metric.JOURNAL_DROPPED_INTERCEPTIONS_TOTAL, interceptions)

    def unfit(self, records: int) -> None:
        """So many the store can never hold."""
        self._metrics.add(Metric.RECORDS_UNFIT_TOTAL, records)
