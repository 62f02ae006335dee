import pytest
from msgspec.structs import replace

from sidecar.core.records import Record
from sidecar.telemetry.metrics import Metric
from sidecar.telemetry.metrics.counting import Counting
from sidecar.telemetry.metrics.operations import Operations
from tests.telemetry.counted import Listed
from tests.telemetry.interceptions import (
    ENDED,
    FORWARDED,
    ID,
    LIMITED,
    PASSED,
    PROMPT,
    REFUSED,
    STARTED,
    THOUGHT,
    TOKENS,
    TOOL,
)

ABOUT_US = [metric for metric in Metric if not metric.convention]


def counted(*records: Record, by_actor: bool = False) -> Listed:
    metrics = Listed()
    Counting(metrics, Operations(metrics, {}), by_actor=by_actor)(records)
    return metrics


def test_a_completed_interception_is_counted_with_all_that_belongs_to_it() -> None:
    found = counted(STARTED, FORWARDED, PROMPT, TOKENS, TOOL, THOUGHT, ENDED)
    assert found.of(*ABOUT_US) == [
        (Metric.INTERCEPTIONS_INFLIGHT, 1.0, ("openai-eu", "gpt-5", "responses")),
        (Metric.PROMPTS_TOTAL, 1.0, ("openai-eu", "gpt-5", "Codex")),
        (Metric.TOKENS_TOTAL, 100, ("openai-eu", "gpt-5", "input", "Codex")),
        (Metric.TOKENS_TOTAL, 30, ("openai-eu", "gpt-5", "output", "Codex")),
        (Metric.TOKENS_TOTAL, 40, ("openai-eu", "gpt-5", "cache_read_input_tokens", "Codex")),
        (Metric.TOKENS_TOTAL, 2, ("openai-eu", "gpt-5", "cache_write_input_tokens", "Codex")),
        (Metric.TOKENS_TOTAL, 40, ("openai-eu", "gpt-5", "input_cached", "Codex")),
        (Metric.TOKENS_TOTAL, 10, ("openai-eu", "gpt-5", "output_reasoning", "Codex")),
        (Metric.TOKENS_TOTAL, 172, ("openai-eu", "gpt-5", "total_tokens", "Codex")),
        (Metric.NON_INJECTED_TOOL_SELECTIONS_TOTAL, 1.0, ("openai-eu", "gpt-5", "CANARY-tool")),
        (Metric.INTERCEPTIONS_INFLIGHT, -1.0, ("openai-eu", "gpt-5", "responses")),
        (Metric.INTERCEPTIONS_TOTAL, 1.0, ("openai-eu", "gpt-5", "completed", "responses", "POST", "Codex")),
        (Metric.INTERCEPTIONS_DURATION_SECONDS, 4.0, ("openai-eu", "gpt-5")),
    ]


def test_a_failure_is_counted_by_why() -> None:
    found = counted(STARTED, FORWARDED, LIMITED)
    assert found.of(Metric.INTERCEPTION_FAILURES_TOTAL) == [
        (Metric.INTERCEPTION_FAILURES_TOTAL, 1.0, ("openai-eu", "rate_limited"))
    ]
    ((_, _, labels),) = found.of(Metric.INTERCEPTIONS_TOTAL)
    assert labels[2] == "failed"


def test_the_actor_is_a_label_only_where_it_is_wanted() -> None:
    for_all = counted(STARTED, PROMPT, TOKENS, ENDED, by_actor=True)
    named = for_all.of(Metric.INTERCEPTIONS_TOTAL, Metric.PROMPTS_TOTAL, Metric.TOKENS_TOTAL)
    assert {labels[-1] for _, _, labels in named} == {"alice"}
    assert "alice" not in str(counted(STARTED, PROMPT, TOKENS, ENDED).told)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/openai-eu/v1/models?after=CANARY", "models"),
        ("/openai-eu/v1/responses/resp_1", "responses/*"),
        ("/openai-eu/v1/[masked]/x/y", "other"),
    ],
)
def test_a_passthrough_is_counted_by_its_route_never_by_its_path(path: str, route: str) -> None:
    assert counted(replace(PASSED, path=path)).told == [(Metric.PASSTHROUGH_TOTAL, 1.0, ("openai-eu", route, "GET"))]


def test_it_ends_once() -> None:
    """What comes after its end is not counted, nor what has no beginning."""
    once = counted(STARTED, REFUSED, REFUSED, TOKENS)
    assert len(once.of(Metric.INTERCEPTIONS_TOTAL)) == 1
    assert once.of(Metric.TOKENS_TOTAL) == counted(TOKENS, ENDED).told == []


def test_what_is_kept_goes_with_its_stream() -> None:
    metrics = Listed()
    counting = Counting(metrics, Operations(metrics, {}), by_actor=False)
    counting([STARTED, FORWARDED])
    counting.pace(ID, [0, 2], 0.5)
    counting.pace(ID, [0, 2], 0.5)
    assert len(metrics.of(Metric.TIME_PER_OUTPUT_CHUNK)) == 1
    counting([ENDED])
    assert metrics.of(Metric.INTERCEPTIONS_TOTAL) == []
