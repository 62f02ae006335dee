"""From records to the attributes of spans, those of a call to a provider aside. Of content nothing."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from sidecar.core.records import ErrorType, Failure, Passed, Started
from sidecar.telemetry import semconv

Value = str | bool | int | float | tuple[str, ...]
Attributes = Mapping[str, Value]
NONE: Attributes = MappingProxyType({})
SERVER_ERROR = 500


class Server(NamedTuple):
    """Where a provider is."""

    host: str
    port: int


def common(started: Started) -> Attributes:
    """What every span of an interception carries."""
    return {
        semconv.REQUEST_PATH: started.request_path,
        semconv.INTERCEPTION: started.interception,
        semconv.ACTOR: started.initiator,
        semconv.INSTANCE: started.provider_name,
        semconv.MODEL: started.model,
        semconv.STREAMING: started.streaming,
    }


def client(started: Started) -> Attributes:
    """On whose behalf: the client, and its session where it names one."""
    session: Attributes = {semconv.SESSION: started.client_session} if started.client_session else NONE
    return {semconv.CLIENT: started.client, **session}


def server(known: Server | None) -> Attributes:
    """Where the provider is."""
    return {semconv.SERVER_ADDRESS: known.host, semconv.SERVER_PORT: known.port} if known else NONE


def error(failure: Failure | None) -> Attributes:
    """Why it failed, if it did."""
    return {semconv.ERROR_TYPE: failure.type.value} if failure else NONE


def passthrough(passed: Passed) -> Attributes:
    """What a passthrough's span carries. A query may hold anything, so it stays out."""
    known: dict[str, Value] = {
        semconv.PASSTHROUGH_URL: passed.path.partition("?")[0],
        semconv.PASSTHROUGH_METHOD: passed.method,
        semconv.PASSTHROUGH_UPSTREAM: passed.url.partition("?")[0],
        semconv.ACTOR: passed.actor,
        semconv.INSTANCE: passed.provider_name,
    }
    if passed.http_status is None:
        known[semconv.ERROR_TYPE] = ErrorType.DISCONNECTED.value
        return known
    known[semconv.HTTP_STATUS] = passed.http_status
    if passed.http_status >= SERVER_ERROR:
        known[semconv.ERROR_TYPE] = str(passed.http_status)
    return known
