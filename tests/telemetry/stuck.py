"""Exporters in trouble, and a count of what is lost, for the tests beside."""

from collections import Counter
from collections.abc import Sequence
from threading import Event

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from sidecar.telemetry.metrics import Metric, NoMetrics


class Stuck(SpanExporter):
    """Hangs until it is freed, as an exporter does whose collector hangs; then takes everything."""

    def __init__(self) -> None:
        self.reached = Event()
        self.freed = Event()
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.reached.set()
        self.freed.wait()
        self.spans += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.freed.set()


class Dropped(NoMetrics):
    """How many spans were dropped, by why."""

    def __init__(self) -> None:
        self.by = Counter[str]()

    def add(self, metric: Metric, amount: float = 1.0, labels: Sequence[str] = ()) -> None:
        assert metric is Metric.SPANS_DROPPED_TOTAL
        (reason,) = labels
        self.by[reason] += int(amount)
