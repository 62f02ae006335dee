"""How bytes reach an OTLP collector: one attempt each, and what came of it."""

import gzip
import ssl
from collections.abc import Mapping
from enum import Enum
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from types import MappingProxyType
from typing import Protocol
from urllib.parse import urlsplit

import grpc

from sidecar.core.errors import SidecarError
from sidecar.settings import Telemetry
from sidecar.settings.checks import server
from sidecar.settings.otel import Signal, Way

METHODS: Mapping[Signal, str] = MappingProxyType(
    {
        "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
)
HEADERS = {"content-type": "application/x-protobuf", "user-agent": "aibridge-sidecar"}
# gRPC's own would let a collector that is back wait for two minutes.
_OPTIONS = (("grpc.max_reconnect_backoff_ms", 5000),)
# What the OTLP specification ("Failures") calls retryable.
RETRYABLE_CODES = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})


class Outcome(Enum):
    """What came of an attempt."""

    DELIVERED = "delivered"
    UNAVAILABLE = "unavailable"  # worth another attempt
    REFUSED = "refused"


class Transport(Protocol):
    """A way to a collector."""

    def send(self, payload: bytes) -> Outcome:
        """Try once, for as long as `Way.timeout` says."""

    def close(self) -> None:
        """Give up what is under way; nothing is sent any more. Safe to call twice."""


def transport(telemetry: Telemetry, signal: Signal = "traces") -> Transport:
    """The way to `telemetry.otlp_endpoint` for `signal`. Connects when there is something to send.

    Raises SidecarError where a certificate's file cannot be read any more.
    """
    way = telemetry.otel.way(signal)
    if telemetry.protocol == "grpc":
        return Grpc(telemetry.otlp_endpoint, METHODS[signal], way)
    return Http(telemetry.url(signal), way)


class Grpc:
    """OTLP/gRPC to the server of a URL: `http://` in the clear, `https://` by the authorities that `way` names."""

    def __init__(self, endpoint: str, method: str, way: Way) -> None:
        host, port = server(endpoint)
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if endpoint.startswith("http:"):
            self._channel = grpc.insecure_channel(target, _OPTIONS)
        else:
            self._channel = grpc.secure_channel(target, _credentials(way), _OPTIONS)
        # No serialiser: bytes go in and come out.
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(method)
        packing = grpc.Compression.Gzip if way.gzip else grpc.Compression.NoCompression
        self._export = partial(export, timeout=way.timeout, metadata=tuple(_plain(way).items()), compression=packing)

    def send(self, payload: bytes) -> Outcome:
        """As `Transport.send` says."""
        try:
            self._export(payload)
        except grpc.RpcError as error:
            again = isinstance(error, grpc.Call) and error.code() in RETRYABLE_CODES
            return Outcome.UNAVAILABLE if again else Outcome.REFUSED
        return Outcome.DELIVERED

    def close(self) -> None:
        """As `Transport.close` says."""
        self._channel.close()


class Http:
    """OTLP/HTTP, to just this URL."""

    def __init__(self, url: str, way: Way) -> None:
        if url.startswith("http:"):
            self._connection = partial(HTTPConnection, *server(url), timeout=way.timeout)
        else:
            self._connection = partial(HTTPSConnection, *server(url), timeout=way.timeout, context=_context(way))
        self._path = urlsplit(url).path
        self._headers = _plain(way) | HEADERS | ({"content-encoding": "gzip"} if way.gzip else {})
        self._packed = gzip.compress if way.gzip else bytes

    def send(self, payload: bytes) -> Outcome:
        """As `Transport.send` says; the timeout bounds each wait for the network."""
        connection = self._connection()
        try:
            connection.request("POST", self._path, self._packed(payload), self._headers)
            status = connection.getresponse().status
        except (OSError, HTTPException):
            return Outcome.UNAVAILABLE
        finally:
            connection.close()
        if status in RETRYABLE_STATUSES:
            return Outcome.UNAVAILABLE
        return Outcome.DELIVERED if 200 <= status < 300 else Outcome.REFUSED  # noqa: PLR2004 -- 2xx, as RFC 9110 has it

    def close(self) -> None:
        """As `Transport.close` says: an attempt under way ends with its timeout, at the latest."""


def _plain(way: Way) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in way.headers.items()}


def _credentials(way: Way) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_content(way.ca_file),
        private_key=_content(way.key_file),
        certificate_chain=_content(way.cert_file),
    )


def _content(file: Path | None) -> bytes | None:
    try:
        return file.read_bytes() if file else None
    except OSError as error:
        raise _unreadable(file, error) from None


def _context(way: Way) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=way.ca_file)
        if way.cert_file:
            context.load_cert_chain(way.cert_file, way.key_file, password="")
    except OSError as error:
        raise _unreadable(way.cert_file or way.ca_file, error) from None
    return context


def _unreadable(file: Path | None, error: OSError) -> SidecarError:
    return SidecarError(f"{file}, for telemetry.otlp_endpoint, cannot be used ({error.strerror})")
