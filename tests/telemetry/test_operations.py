from msgspec.structs import replace

from sidecar.core.records import Answered
from sidecar.settings import Provider, Settings
from sidecar.telemetry.metrics import Metric
from sidecar.telemetry.metrics.operations import Operations, servers
from tests.telemetry.counted import Listed
from tests.telemetry.interceptions import ENDED, LIMITED, STARTED, TOKENS, T

SERVERS = {"openai-eu": ("eu.api.openai.com", "443")}
ASKED = ("chat", "openai", "gpt-5", "", "eu.api.openai.com", "443")
ANSWERED = ("chat", "openai", "gpt-5", "gpt-5-2026-10-01", "eu.api.openai.com", "443")


def measured(*, upcoming: bool = False, is_forwarded: bool = True, **changed: object) -> Listed:
    metrics = Listed()
    operations = Operations(metrics, SERVERS, upcoming=upcoming)
    operation = operations.begin(replace(STARTED, **changed))
    operation.forwarded_at = T + 0.75 if is_forwarded else None
    operations.usage(operation, TOKENS)
    operations.end(operation, ENDED)
    operations.pace(operation, [1, 2], 0.75)
    return metrics


def test_an_operation_is_measured_by_the_conventions() -> None:
    assert measured().told == [
        (Metric.TOKEN_USAGE, 142, (*ANSWERED, "input")),
        (Metric.TOKEN_USAGE, 30, (*ANSWERED, "output")),
        (Metric.OPERATION_DURATION, 3.25, (*ANSWERED, "")),
        (Metric.TIME_TO_FIRST_CHUNK, 0.5, ANSWERED),
        (Metric.TIME_PER_OUTPUT_CHUNK, 0.75, (*ANSWERED, "1", "2")),
    ]


def test_the_next_conventions_have_other_names_and_counters() -> None:
    assert measured(upcoming=True).told == [
        (Metric.INFERENCE_INPUT_TOKENS, 142, ANSWERED),
        (Metric.INFERENCE_OUTPUT_TOKENS, 30, ANSWERED),
        (Metric.USAGE_INPUT_TOKENS_TOTAL, 142, (*ANSWERED, "unknown")),
        (Metric.USAGE_OUTPUT_TOKENS_TOTAL, 30, (*ANSWERED, "unknown")),
        (Metric.USAGE_CACHE_READ_TOKENS_TOTAL, 40, (*ANSWERED, "unknown")),
        (Metric.USAGE_CACHE_WRITE_TOKENS_TOTAL, 2, (*ANSWERED, "unknown")),
        (Metric.USAGE_REASONING_TOKENS_TOTAL, 10, (*ANSWERED, "unknown")),
        (Metric.INFERENCE_DURATION, 3.25, (*ANSWERED, "")),
        (Metric.INFERENCE_TIME_TO_FIRST_CHUNK, 0.5, ANSWERED),
        (Metric.INFERENCE_TIME_PER_OUTPUT_CHUNK, 0.75, (*ANSWERED, "1", "2")),
    ]


def test_what_was_not_sent_on_is_no_operation() -> None:
    assert measured(is_forwarded=False).of(Metric.OPERATION_DURATION) == []


def test_what_is_no_stream_has_no_chunks() -> None:
    found = measured(streaming=False)
    assert found.of(Metric.TIME_TO_FIRST_CHUNK, Metric.TIME_PER_OUTPUT_CHUNK) == []


def test_a_failure_has_its_type_and_no_model_that_did_not_answer() -> None:
    metrics = Listed()
    operations = Operations(metrics, SERVERS)
    operation = operations.begin(STARTED)
    operation.forwarded_at = T + 0.75
    operations.end(operation, replace(LIMITED, answered=Answered()))
    assert metrics.told == [(Metric.OPERATION_DURATION, 1.25, (*ASKED, "rate_limited"))]


def test_providers_are_where_their_base_urls_say() -> None:
    urls = {"a": "https://api.openai.com/v1", "b": "http://127.0.0.1:8080/v1", "c": "http://127.0.0.1/v1"}
    providers = tuple(Provider(name=name, base_url=url) for name, url in urls.items())
    assert servers(Settings(providers=providers)) == {
        "a": ("api.openai.com", "443"),
        "b": ("127.0.0.1", "8080"),
        "c": ("127.0.0.1", "80"),
    }
