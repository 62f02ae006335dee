from dataclasses import replace

import pytest

from sidecar.telemetry import attributes
from tests.telemetry.interceptions import ANSWER, COMMON, LIMITED, PASSED, REQUEST, STARTED, TOKENS

PASSTHROUGH = {
    "passthrough_url": "/openai-eu/v1/models",
    "passthrough_method": "GET",
    "passthrough_upstream_url": "https://api.openai.com/v1/models",
    "user_id": "alice",
    "provider": "openai-eu",
}


def test_every_span_says_who_asked_whom_for_which_model() -> None:
    assert attributes.common(STARTED) == COMMON


def test_the_request_is_described_by_the_genai_conventions() -> None:
    assert attributes.request(STARTED) == REQUEST


def test_what_the_request_does_not_say_is_left_out() -> None:
    """The conventions want `stream` only when true, and no empty model."""
    assert attributes.request(replace(STARTED, model="", streaming=False)) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "openai.api.type": "responses",
    }


def test_input_tokens_include_the_cached_ones() -> None:
    """The record's `input` excludes them, the convention's count does not."""
    assert {"gen_ai.response.id": "resp_1", **attributes.usage(TOKENS)} == ANSWER


def test_what_the_provider_did_not_count_is_left_out() -> None:
    assert attributes.usage(replace(TOKENS, extra={}, provider_model=None, service_tier=None)) == {
        "gen_ai.usage.input_tokens": 142,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_write.input_tokens": 2,
    }


def test_the_sum_of_absurd_counts_still_fits_64_bits() -> None:
    """A count that OTLP cannot hold would cost the whole batch."""
    absurd = replace(TOKENS, input=2**63 - 1)
    assert attributes.usage(absurd)["gen_ai.usage.input_tokens"] == 2**63 - 1


def test_a_failure_gives_its_type() -> None:
    assert attributes.error(LIMITED.failure) == {"error.type": "rate_limited"}
    assert attributes.error(None) == {}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, {"http.response.status_code": 200}),
        (404, {"http.response.status_code": 404}),
        (500, {"http.response.status_code": 500, "error.type": "500"}),
        (None, {"error.type": "disconnected"}),
    ],
)
def test_a_passthrough_tells_both_urls_without_their_queries(status: int | None, expected: dict[str, object]) -> None:
    assert attributes.passthrough(replace(PASSED, http_status=status)) == {**PASSTHROUGH, **expected}
