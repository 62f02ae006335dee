"""Settings from a TOML file and the environment, checked before anything starts."""

from sidecar.settings.checks import host_and_port
from sidecar.settings.model import (
    Identity,
    Limits,
    Provider,
    Recorder,
    Service,
    Settings,
    StoreKind,
    Telemetry,
    defaults,
)
from sidecar.settings.sources import bare_environment, load

__all__ = [
    "Identity",
    "Limits",
    "Provider",
    "Recorder",
    "Service",
    "Settings",
    "StoreKind",
    "Telemetry",
    "bare_environment",
    "defaults",
    "host_and_port",
    "load",
]
