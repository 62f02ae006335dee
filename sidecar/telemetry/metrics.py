"""What is counted and measured: one table, and the null object for when nobody looks.

    worker, keeper, parent ── Metrics, in memory ──▶ files in `<runtime_dir>/metrics/` ──▶ the parent adds them up

Nothing here knows Prometheus, and no label is made of what a client says.
"""

from enum import Enum
from pathlib import Path
from typing import Literal, Protocol

from sidecar.settings import Settings

Kind = Literal["counter", "gauge", "histogram"]

PREFIX = "aibridge_"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metric(Enum):
    """All there are: kind, help with the unit, and the buckets' upper bounds. Over all processes they are added up."""

    RESPONSES_LET_GO_TOTAL = "counter", "Responses that clients got to their end before their records were durable."
    RESPONSES_CUT_TOTAL = "counter", "Responses that were cut before their end, rather than let go unrecorded."
    JOURNAL_PENDING_RECORDS = "gauge", "Records that are not yet durable."
    JOURNAL_PENDING_BYTES = "gauge", "Memory, in bytes, of records that are not yet durable."
    JOURNAL_COMMITS_TOTAL = "counter", "Transactions that made records durable."
    JOURNAL_COMMIT_SECONDS = (
        "histogram",
        "Time to make a batch of records durable, tries included, in seconds.",
        _SECONDS,
    )
    JOURNAL_STALLS_TOTAL = "counter", "Times that the journal's file could not be written and was tried again."
    JOURNAL_BYTES = "gauge", "What the journal's file holds, in bytes."
    UNFORWARDED_INTERCEPTIONS = "gauge", "Interceptions in the journal that their store has not yet acknowledged."
    UNFORWARDED_OLDEST_SECONDS = "gauge", "Age, in seconds, of the oldest interception that is not yet forwarded."
    FORWARDED_INTERCEPTIONS_TOTAL = "counter", "Interceptions that their store has acknowledged."
    FORWARD_FAILURES_TOTAL = "counter", "Batches that could not be forwarded and were kept for another try."
    JOURNAL_DROPPED_INTERCEPTIONS_TOTAL = "counter", "Interceptions dropped from a full journal, never forwarded."
    RECORDS_UNFIT_TOTAL = "counter", "Records that no database could hold."
    OPEN_STREAMS = "gauge", "Requests under way, each an ext_proc stream."
    HELD_BYTES = "gauge", "Room that request bodies under way take, in bytes."

    def __init__(self, kind: Kind, text: str, buckets: tuple[float, ...] = ()) -> None:
        self.kind = kind
        self.text = text
        self.buckets = buckets

    @property
    def full_name(self) -> str:
        """As Prometheus has it."""
        return PREFIX + self.name.lower()


class Metrics(Protocol):
    """What one process counts and measures. None of these raises or waits for anything; any thread may call them."""

    def add(self, metric: Metric, amount: float = 1.0) -> None:
        """Count so many more."""

    def set(self, metric: Metric, value: float) -> None:
        """Have a gauge at `value`; until the first call, this process does not show it at all."""

    def observe(self, metric: Metric, value: float) -> None:
        """Put one more value into a histogram."""

    def close(self) -> None:
        """Bring the last values to their file, if the disk takes them at once."""


class NoMetrics:
    """Metrics are off."""

    __slots__ = ()

    def add(self, metric: Metric, amount: float = 1.0) -> None:
        """Nothing."""

    def set(self, metric: Metric, value: float) -> None:
        """Nothing."""

    def observe(self, metric: Metric, value: float) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def folder(settings: Settings) -> Path:
    """Where the processes of a bridge leave their values."""
    return settings.runtime_dir / "metrics"
