import pytest
from msgspec.structs import replace

from sidecar.core.records import Answered, Ended
from tests.telemetry.called import call
from tests.telemetry.interceptions import ANSWERED, ENDED, LIMITED, STARTED, TOKENS, T


def ended(**answered: object) -> Ended:
    return replace(ENDED, answered=replace(ANSWERED, **answered))


@pytest.mark.parametrize(
    ("end", "asks", "reason"),
    [
        (ended(), False, "stop"),
        (ended(), True, "tool_calls"),
        (ended(status="incomplete", incomplete_reason="max_output_tokens"), True, "length"),
        (ended(status="incomplete", incomplete_reason="content_filter"), False, "content_filter"),
        (ended(status="incomplete", incomplete_reason="rain"), False, "error"),
        (ended(status="cancelled"), False, "error"),
        (ended(status="queued"), False, None),
        (LIMITED, False, "error"),
    ],
)
def test_it_says_why_the_model_stopped(end: Ended, asks: bool, reason: str | None) -> None:  # noqa: FBT001 - a case
    assert call(ended=end, asks=asks).finish_reason == reason


def test_a_failure_before_any_answer_is_no_models_end() -> None:
    assert call(ended=LIMITED, response="").finish_reason is None


def test_a_stream_has_a_first_chunk() -> None:
    """Seconds after the request was sent on; a clock that was set back gives none below 0."""
    assert call().first_chunk == 0.5
    assert call(forwarded_at=T + 9).first_chunk == 0.0
    assert call(started=replace(STARTED, streaming=False)).first_chunk is None
    assert call(ended=replace(ENDED, answered=Answered())).first_chunk is None


def test_model_and_tier_are_known_from_either() -> None:
    bare = call(ended=replace(ENDED, answered=Answered()))
    assert (bare.model, bare.service_tier) == ("gpt-5-2026-10-01", "default")
    assert (call(tokens=None).model, call(tokens=None).service_tier) == ("gpt-5-2026-10-01", "default")
    neither = call(ended=replace(ENDED, answered=Answered()), tokens=None)
    assert (neither.model, neither.service_tier) == (None, None)


def test_what_the_response_says_goes_before_what_its_usage_says() -> None:
    assert call(tokens=replace(TOKENS, provider_model="other")).model == "gpt-5-2026-10-01"
