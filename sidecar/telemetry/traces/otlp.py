"""The way out: spans to an OTLP collector, from the SDK's exporting thread.

Our own exporter, because the official ones cannot be imported beside xds-protos: see docs/decisions/0004.
"""

from collections.abc import Sequence
from threading import Event

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from sidecar.telemetry.metrics import Metric, Metrics, NoMetrics
from sidecar.telemetry.traces.messages import encode
from sidecar.telemetry.transports import Outcome, Transport

PAUSES = (0.0, 1.0, 2.0, 4.0)  # seconds before each attempt: a collector's restart costs no span

log = structlog.get_logger()


class Exporter(SpanExporter):
    """Retries what is worth it, drops what is not, and says so once per outage: no endpoint, no answer, no content.

    `pauses`: the seconds to wait before each attempt; `metrics`: where spans that did not arrive are counted.
    """

    def __init__(self, transport: Transport, pauses: Sequence[float] = PAUSES, metrics: Metrics | None = None) -> None:
        self._transport = transport
        self._pauses = pauses
        self._metrics = metrics or NoMetrics()
        self._closed = Event()
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send one batch, in as many messages as it takes; blocks, with the default pauses for 27 s each at most."""
        lost = len(spans)
        for message in encode(spans):
            if not self._deliver(message.body):
                break  # the next would not arrive either
            lost -= message.spans
        if lost:
            self._metrics.add(Metric.SPANS_DROPPED_TOTAL, lost, ("export_failed",))
        self._tell(delivered=not lost)
        return SpanExportResult.FAILURE if lost else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Give up what is under way. Safe to call twice."""
        self._closed.set()
        self._transport.close()

    def _tell(self, *, delivered: bool) -> None:
        if not delivered and not self._failing:
            log.warning("telemetry.otlp_endpoint takes no spans; they are dropped until it does")
        elif delivered and self._failing:
            log.warning("telemetry.otlp_endpoint takes spans again")
        self._failing = not delivered

    def _deliver(self, payload: bytes) -> bool:
        for pause in self._pauses:
            if self._closed.wait(pause):
                return False
            outcome = self._transport.send(payload)
            if outcome is not Outcome.UNAVAILABLE:
                return outcome is Outcome.DELIVERED
        return False
