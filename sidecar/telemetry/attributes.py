"""From records to the attributes of spans. Of content nothing: no prompt, no tool's input, no thought."""

from collections.abc import Mapping
from types import MappingProxyType

from sidecar.core.records import ErrorType, Failure, Passed, Started, Tokens
from sidecar.core.text import clamp
from sidecar.telemetry import semconv

Value = str | bool | int
Attributes = Mapping[str, Value]
NONE: Attributes = MappingProxyType({})
SERVER_ERROR = 500


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


def request(started: Started) -> Attributes:
    """What the GenAI conventions want to know of the request to the provider."""
    known: dict[str, Value] = {
        semconv.OPERATION: "chat",
        semconv.PROVIDER: started.provider,
        semconv.API_TYPE: "responses",
    }
    if started.model:
        known[semconv.REQUEST_MODEL] = started.model
    if started.streaming:
        known[semconv.REQUEST_STREAM] = True
    return known


def usage(tokens: Tokens) -> Attributes:
    """What the GenAI conventions want to know of the answer, as far as it came with the provider's count."""
    known: dict[str, Value] = {
        # The convention's count includes what the cache gave and took; the record's does not.
        semconv.INPUT_TOKENS: clamp(tokens.input + tokens.cache_read + tokens.cache_write),
        semconv.OUTPUT_TOKENS: tokens.output,
        semconv.CACHE_READ_TOKENS: tokens.cache_read,
        semconv.CACHE_WRITE_TOKENS: tokens.cache_write,
    }
    if "output_reasoning" in tokens.extra:
        known[semconv.REASONING_TOKENS] = tokens.extra["output_reasoning"]
    if tokens.provider_model:
        known[semconv.RESPONSE_MODEL] = tokens.provider_model
    if tokens.service_tier:
        known[semconv.SERVICE_TIER] = tokens.service_tier
    return known


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
