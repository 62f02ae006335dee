"""How many spans wait for their way out: so many at most, and what finds no room is counted, never waited for.

The SDK's own queue would drop the oldest, tell nobody, and so take the middle out of trees.
"""

from collections.abc import Sequence

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from sidecar.telemetry.metrics import Metric, Metrics

log = structlog.get_logger()


class Waiting(SpanExporter):
    """An exporter before which at most `most` spans wait, of trees that are admitted whole or not at all."""

    # Each of the two numbers has one thread that writes it: that of the requests, and the exporting one.
    def __init__(self, exporter: SpanExporter, most: int, metrics: Metrics) -> None:
        self._exporter = exporter
        self._most = most
        self._metrics = metrics
        self._admitted = 0
        self._taken = 0
        self._full = False

    def admits(self, spans: int) -> bool:
        """Whether there is room for so many more; they must follow. Never blocks."""
        waiting = self._admitted - self._taken
        if waiting + spans > self._most:
            self._metrics.add(Metric.SPANS_DROPPED_TOTAL, spans, ("queue_full",))
            self._tell(full=True)
            return False
        self._admitted += spans
        # Not at the first place that is free: a slow collector would have the log filled.
        if waiting <= self._most // 2:
            self._tell(full=False)
        return True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As the exporter does it: these wait no longer."""
        self._taken += len(spans)
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        """As the exporter does it."""
        self._exporter.shutdown()

    def _tell(self, *, full: bool) -> None:
        if full and not self._full:
            log.warning("spans come faster than telemetry.otlp_endpoint takes them; what finds no room is dropped")
        elif self._full and not full:
            log.warning("there is room for spans again")
        self._full = full
