"""Who sends: the attributes of an OpenTelemetry resource."""

from collections.abc import Mapping
from importlib.metadata import version

from sidecar.settings import Telemetry
from sidecar.telemetry import semconv


def sender(telemetry: Telemetry) -> Mapping[str, str]:
    """What is true of all processes of a bridge; what the standard `OTEL_*` variables say wins."""
    return {
        semconv.SERVICE_NAME: "aibridge-sidecar",
        semconv.SERVICE_VERSION: version("aibridge-sidecar"),
        **telemetry.otel.resource,
    }
