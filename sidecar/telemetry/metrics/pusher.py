"""Metrics for an OTLP collector: what all processes of a bridge have counted, every minute and once at the end.

    worker, keeper ── Metrics, in memory ──▶ files ──▶ sums.py ──▶ readings.py ──▶ transports.py ──▶ collector

On a thread of the keeper's, the one process whose business is what is remote or slow: see docs/decisions/0014. Each
push says everything since the bridge began: one that does not arrive is not tried again, and nothing waits in memory.
"""

import struct
import time
from collections.abc import Iterable, Iterator
from threading import Event, Thread

import structlog

from sidecar.core.errors import SidecarError
from sidecar.settings import Settings
from sidecar.telemetry import semconv
from sidecar.telemetry.metrics import Metric, Metrics, folder
from sidecar.telemetry.metrics.readings import encode
from sidecar.telemetry.metrics.sums import added_up
from sidecar.telemetry.senders import sender
from sidecar.telemetry.transports import Outcome, Transport, transport

log = structlog.get_logger()

LAST = 3.0  # seconds at most for the last push
_NANOSECONDS = 1_000_000_000


class Pusher:
    """`Pushes` by a thread. An outage is told when it begins and when it ends, without a word of the collector's."""

    last = LAST

    def __init__(self, settings: Settings, bridge: str, since: float, metrics: Metrics) -> None:
        """As `pushes.begun` says."""
        self._telemetry = settings.telemetry
        self._folder = folder(settings)
        # The variables win: only an operator can know a name that outlasts a restart.
        self._sender = {semconv.SERVICE_INSTANCE: bridge, **sender(settings.telemetry)}
        self._since = int(since * _NANOSECONDS)
        self._metrics = metrics
        self._transport: Transport | None = None
        self._trouble = ""
        self._closing = Event()
        self._thread = Thread(target=self._run, name="pushes", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> bool:
        """As `Pushes.close` says."""
        self._closing.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._closing.wait(self._telemetry.otel.interval):
            self._push()
        self._push()
        if self._transport:
            self._transport.close()

    def _push(self) -> None:
        trouble = self._tried()
        if trouble:
            self._metrics.add(Metric.METRIC_PUSH_FAILURES_TOTAL)
        if trouble and trouble != self._trouble:
            log.warning("no metrics reach telemetry.otlp_endpoint; the next that do are complete", reason=trouble)
        elif self._trouble and not trouble:
            log.warning("metrics reach telemetry.otlp_endpoint again")
        self._trouble = trouble

    def _tried(self) -> str:
        """Why not all of it arrived; empty where it did."""
        try:
            self._transport = self._transport or transport(self._telemetry, "metrics")
            return _sent(self._transport, self._payloads())
        except (OSError, ValueError, struct.error):
            return "their files cannot be read"
        except SidecarError as error:  # a certificate's file
            return str(error)

    def _payloads(self) -> Iterator[bytes]:
        return encode(added_up(self._folder), self._sender, since=self._since, at=time.time_ns())


def _sent(way: Transport, payloads: Iterable[bytes]) -> str:
    """Send all of them, up to the first that does not arrive: the next would not either."""
    for payload in payloads:
        outcome = way.send(payload)
        if outcome is not Outcome.DELIVERED:
            reason: str = outcome.value
            return reason
    return ""
