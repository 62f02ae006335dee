"""From the settings to traces."""

import logging

from sidecar.settings import Settings
from sidecar.telemetry import semconv
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.senders import sender
from sidecar.telemetry.traces import NoTraces, Traces


def configure(settings: Settings, worker: str, metrics: Metrics) -> Traces:
    """The traces of this process, which is `worker`; `metrics` count what is lost of them.

    Nothing connects before there is something to send.
    """
    if not settings.telemetry.otlp_endpoint:
        return NoTraces()
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 -- time and memory, for those who want traces

    from sidecar.telemetry.traces.otlp import Exporter  # noqa: PLC0415 -- likewise
    from sidecar.telemetry.traces.profiles import view  # noqa: PLC0415 -- likewise
    from sidecar.telemetry.traces.spans import SpanTraces  # noqa: PLC0415 -- likewise
    from sidecar.telemetry.transports import transport  # noqa: PLC0415 -- likewise

    # The SDK would log what clients send as `tracestate`, a line for each.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    resource = Resource.create({**sender(settings.telemetry), semconv.SERVICE_INSTANCE: worker})
    exporter = Exporter(transport(settings.telemetry), metrics=metrics)
    return SpanTraces(exporter, resource, view(settings), metrics)
