"""The way to a collector, as the standard `OTEL_*` variables say it: values only, filled by `load`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import SecretStr

Signal: TypeAlias = Literal["traces", "metrics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a collector is spoken to about one signal. `timeout`: seconds for each attempt; `gzip`: whether it packs.

    `ca_file`: the system's where none is named; None without TLS, and where the system has none that we know.
    """

    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout: float = 5.0
    gzip: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Otel:
    """What the variables say. `resource`: attributes of whoever sends; `interval`: seconds between pushes of metrics.

    `pushes`: whether there are any.
    """

    traces: Way = Way()
    metrics: Way = Way()
    resource: Mapping[str, str] = field(default_factory=dict)
    interval: float = 60.0
    pushes: bool = True

    def way(self, signal: Signal) -> Way:
        """The one for `signal`."""
        return self.traces if signal == "traces" else self.metrics
