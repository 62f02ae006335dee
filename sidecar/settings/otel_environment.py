"""What the standard `OTEL_*` variables say of the way to a collector (OpenTelemetry: "OTLP Exporter Configuration").

Not of where to: that is `telemetry.otlp_endpoint` alone, and nothing is sent without it.
"""

import os
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from sidecar.core.errors import BadSetting
from sidecar.settings import checks
from sidecar.settings.otel import Otel, Way
from sidecar.settings.refusals import line

T = TypeVar("T")

_PREFIX = "OTEL_EXPORTER_OTLP_"
_RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"
_SERVICE = "OTEL_SERVICE_NAME"
_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
_EXPORTERS = "OTEL_METRICS_EXPORTER"
# What can be a name in gRPC's metadata as well; a name in `-bin` would announce bytes.
_HEADER = re.compile(r"(?!grpc-)[a-z0-9_.-]+(?<!-bin)")
_MOST_SECONDS = 60.0
_INTERVALS = (0.1, 3600.0)  # seconds
_COMPRESSIONS = {"none": False, "gzip": True}
_PAIRS = "name=value,name=value, the values percent-encoded"


def standard(environment: Mapping[str, str], authorities: Path | None = None) -> Otel:
    """What `environment` says, and `authorities` where it names none.

    Raises BadSetting with one line that names the variable.
    """
    resource = _checked(environment, _RESOURCE, _pairs, _PAIRS) or {}
    if service := environment.get(_SERVICE, "").strip():
        resource["service.name"] = service
    return Otel(
        traces=_way(environment, "TRACES_", authorities),
        metrics=_way(environment, "METRICS_", authorities),
        resource=resource,
        interval=_checked(environment, _INTERVAL, _interval, "milliseconds, 100 to 3600000") or Otel().interval,
        pushes="otlp" in map(str.strip, (environment.get(_EXPORTERS) or "otlp").split(",")),
    )


def _way(environment: Mapping[str, str], signal: str, authorities: Path | None) -> Way:
    def said(name: str, reading: Callable[[str], T], allowed: str) -> T | None:
        return _checked(environment, _name(environment, signal, name), reading, allowed)

    way = Way(
        headers=said("HEADERS", _headers, _PAIRS) or {},
        ca_file=said("CERTIFICATE", _authorities, "a PEM file of certificate authorities") or authorities,
        cert_file=said("CLIENT_CERTIFICATE", _file, "a PEM file that exists"),
        key_file=said("CLIENT_KEY", _file, "a PEM file that exists"),
        timeout=said("TIMEOUT", _seconds, "milliseconds, 1 to 60000") or Way().timeout,
        gzip=said("COMPRESSION", _is_packed, "gzip, none") or False,
    )
    if not _is_whole(way):
        name = _name(environment, signal, "CLIENT_CERTIFICATE")
        verdict = (
            f"allowed: a PEM file, and in {_name(environment, signal, 'CLIENT_KEY')} that of its key, without password"
        )
        raise BadSetting(line(name, str(way.cert_file or ""), verdict))
    return way


def _name(environment: Mapping[str, str], signal: str, name: str) -> str:
    """The variable that counts: the signal's own, where it is set."""
    own = f"{_PREFIX}{signal}{name}"
    return own if environment.get(own, "").strip() else f"{_PREFIX}{name}"


def _is_whole(way: Way) -> bool:
    """Whether there is neither certificate nor key, or both, and they belong together."""
    if way.cert_file is None or way.key_file is None:
        return way.cert_file is way.key_file
    try:
        # Without a password given, one would be asked for at the terminal.
        ssl.create_default_context().load_cert_chain(way.cert_file, way.key_file, password="")
    except (OSError, ValueError):
        return False
    return True


def _checked(environment: Mapping[str, str], name: str, reading: Callable[[str], T], allowed: str) -> T | None:
    """What `reading` makes of a variable; None where it is empty, which the specification calls not set."""
    written = environment.get(name, "").strip()
    if not written:
        return None
    try:
        return reading(written)
    except (ValueError, OSError, PydanticCustomError):
        secret = name.endswith("HEADERS")
        raise BadSetting(line(name, SecretStr("") if secret else written, f"allowed: {allowed}")) from None


def _pairs(text: str) -> dict[str, str]:
    return dict(_pair(member) for member in text.split(",") if member.strip())


def _pair(member: str) -> tuple[str, str]:
    name, equals, value = member.partition("=")
    if not equals or not name.strip():
        raise ValueError
    return unquote(name.strip(), errors="strict"), unquote(value.strip(), errors="strict")


def _headers(text: str) -> dict[str, SecretStr]:
    return dict(_header(name, value) for name, value in _pairs(text).items())


def _header(name: str, value: str) -> tuple[str, SecretStr]:
    name = checks.header(name)
    if not _HEADER.fullmatch(name):
        raise ValueError
    return name, SecretStr(checks.header_value(value))


def _file(text: str) -> Path:
    path = checks.path(Path(text))
    if path is None or not os.path.isfile(path):  # noqa: PTH113 (`is_file` raises where it cannot look)
        raise ValueError
    return path


def _authorities(text: str) -> Path:
    path = _file(text)
    if not ssl.create_default_context(cafile=str(path)).cert_store_stats()["x509"]:
        raise ValueError
    return path


def _is_packed(text: str) -> bool:
    if text not in _COMPRESSIONS:
        raise ValueError
    return _COMPRESSIONS[text]


def _interval(text: str) -> float:
    seconds = float(text) / 1000
    least, most = _INTERVALS
    if not least <= seconds <= most:
        raise ValueError
    return seconds


def _seconds(text: str) -> float:
    seconds = float(text) / 1000
    if not 0 < seconds <= _MOST_SECONDS:
        raise ValueError
    return seconds
