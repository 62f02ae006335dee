"""How bytes reach an OTLP collector: one attempt each, and what came of it."""

from enum import Enum
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Protocol
from urllib.parse import urlsplit

import grpc

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HEADERS = {"content-type": "application/x-protobuf", "user-agent": "aibridge-sidecar"}
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

    def send(self, payload: bytes, timeout: float) -> Outcome:
        """Try once, for at most `timeout` seconds."""

    def close(self) -> None:
        """Give up what is under way; nothing is sent any more. Safe to call twice."""


class Grpc:
    """OTLP/gRPC to a URL's host and port: `http://` in the clear, `https://` with the authorities that gRPC knows."""

    def __init__(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        if url.scheme == "http":
            self._channel = grpc.insecure_channel(url.netloc)
        else:
            self._channel = grpc.secure_channel(url.netloc, grpc.ssl_channel_credentials())
        # No serialiser: bytes go in and come out.
        self._export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(METHOD)

    def send(self, payload: bytes, timeout: float) -> Outcome:
        """As `Transport.send` says."""
        try:
            self._export(payload, timeout=timeout)
        except grpc.RpcError as error:
            again = isinstance(error, grpc.Call) and error.code() in RETRYABLE_CODES
            return Outcome.UNAVAILABLE if again else Outcome.REFUSED
        return Outcome.DELIVERED

    def close(self) -> None:
        """As `Transport.close` says."""
        self._channel.close()


class Http:
    """OTLP/HTTP, to just this URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection if parts.scheme == "http" else HTTPSConnection
        self._address = parts.netloc
        self._path = parts.path

    def send(self, payload: bytes, timeout: float) -> Outcome:
        """As `Transport.send` says; `timeout` bounds each wait for the network."""
        connection = self._connection(self._address, timeout=timeout)
        try:
            connection.request("POST", self._path, payload, HEADERS)
            status = connection.getresponse().status
        except (OSError, HTTPException):
            return Outcome.UNAVAILABLE
        finally:
            connection.close()
        if status in RETRYABLE_STATUSES:
            return Outcome.UNAVAILABLE
        return Outcome.DELIVERED if 200 <= status < 300 else Outcome.REFUSED  # noqa: PLR2004 -- 2xx, as RFC 9110 has it

    def close(self) -> None:
        """As `Transport.close` says: an attempt under way ends with its `timeout`, at the latest."""
