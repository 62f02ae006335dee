"""Settings from a TOML file and the environment, checked before anything starts."""

from sidecar.settings.checks import host_and_port
from sidecar.settings.console import Console
from sidecar.settings.credentials import Credentials
from sidecar.settings.identity import Identity, Issuer, PolicyRule, Tls
from sidecar.settings.model import (
    Limits,
    Provider,
    Recorder,
    Service,
    Settings,
    StoreKind,
    defaults,
)
from sidecar.settings.sources import bare_environment, has_authorities, load
from sidecar.settings.telemetry import Dump, Telemetry

__all__ = [
    "Console",
    "Credentials",
    "Dump",
    "Identity",
    "Issuer",
    "Limits",
    "PolicyRule",
    "Provider",
    "Recorder",
    "Service",
    "Settings",
    "StoreKind",
    "Telemetry",
    "Tls",
    "bare_environment",
    "defaults",
    "has_authorities",
    "host_and_port",
    "load",
]
