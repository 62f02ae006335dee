"""Five accounts of the same traffic: records, spans, metrics, log lines and Envoy's access log. They agree.

Every transcript passes through one bridge; then each account is compared with the records, which `test_replays` holds
against what is expected.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from examples.answers import Answer, pieces
from examples.otlp_receiver import Receiver, Span
from examples.ports import number, reserved
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import ACTOR, ask
from tests.e2e.recorded import Recorded, Row
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE, eventually
from tests.transcripts import plays

PLAYS = plays()
CASES = [f"agree-{transcript.name}-{'streamed' if streaming else 'whole'}" for transcript, streaming in PLAYS]
CHUNK = 211
UPSTREAM = "Intercept.ProcessRequest.Upstream"
RECORDINGS = {
    "Intercept.RecordPromptUsage": "prompts",
    "Intercept.RecordTokenUsage": "tokens",
    "Intercept.RecordToolUsage": "tools",
    "Intercept.RecordModelThought": "thoughts",
}
# A line's name for it, and the record's.
LINES = {
    "prompt_usage": ("prompts", {"msg_id": "msg_id", "prompt": "prompt", "created_at": "created_at"}),
    "token_usage": (
        "tokens",
        {
            name: name
            for name in (
                "msg_id",
                "input_tokens",
                "output_tokens",
                "cache_read_input_tokens",
                "cache_write_input_tokens",
                "created_at",
            )
        },
    ),
    "tool_usage": (
        "tools",
        {name: name for name in ("msg_id", "tool_call_id", "item_id", "tool", "input", "server_url", "created_at")},
    ),
    "model_thought": ("thoughts", {"content": "content", "created_at": "created_at"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """All five. Spans, log lines and access log lines by the interception that they are about."""

    records: Mapping[str, Recorded]
    spans: Mapping[str, list[Span]]
    lines: Mapping[str, list[Row]]
    access: Mapping[str, list[Row]]
    metrics: Mapping[str, list[tuple[Mapping[str, str], float]]]


@pytest.fixture(scope="module")
def accounts(
    tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider, script: Script
) -> Iterator[Accounts]:
    folder = tmp_path_factory.mktemp("agreement")
    with Receiver() as receiver, reserved() as held:
        metrics = number(held)
        telemetry = {
            "otlp_endpoint": receiver.endpoint,
            "metrics": f"127.0.0.1:{metrics}",
            "log_records": True,
            "max_label_values": 1000,
        }
        with bridge(folder, provider.url, telemetry=telemetry) as running:
            for (transcript, streaming), case in zip(PLAYS, CASES, strict=True):
                body = transcript.answer(streaming)
                script[case] = Answer(
                    status=transcript.status,
                    content_type=transcript.content_type(streaming),
                    body=pieces(body, CHUNK) if streaming else body,
                )
                ask(running.port, case, transcript.request(streaming), path=f"/openai/v1/{transcript.path}")
            yield _gathered(running, receiver, metrics)


def _gathered(running: Bridge, receiver: Receiver, port: int) -> Accounts:
    records = {case: running.ending(case) for case in CASES}
    ids = {one.interception["id"] for one in records.values()}
    assert receiver.wait(
        lambda spans: ids <= {one.attributes.get("interception_id") for one in _roots(spans)}, PATIENCE
    )
    eventually(lambda: ids <= {line["interception"] for line in running.access()}, "a line for each in the access log")
    eventually(lambda: ids <= {line["interception_id"] for line in _ends(running)}, "a log line for each end")
    eventually(lambda: _sum(_scraped(port)["aibridge_interceptions_total"]) == len(ids), "all of them counted")
    return Accounts(
        records=records,
        spans=_by((span.attributes.get("interception_id"), span) for span in receiver.spans),
        lines=_by((line["interception_id"], line) for line in _lines(running)),
        access=_by((line["interception"], line) for line in running.access()),
        metrics=_scraped(port),
    )


def _roots(spans: Iterable[Span]) -> Iterator[Span]:
    return (span for span in spans if span.name == "Intercept")


def _lines(running: Bridge) -> Iterator[Row]:
    for text in running.output.splitlines():
        if text.startswith("{") and (line := json.loads(text)).get("event") == "interception log":
            yield line


def _ends(running: Bridge) -> Iterator[Row]:
    return (line for line in _lines(running) if line["record_type"] == "interception_end")


def _by(found: Iterable[tuple[Any, Any]]) -> Mapping[str, list[Any]]:
    sorted_by: dict[str, list[Any]] = defaultdict(list)
    for key, value in found:
        sorted_by[key].append(value)
    return sorted_by


def _scraped(port: int) -> Mapping[str, list[tuple[Mapping[str, str], float]]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return _by((sample.name, (sample.labels, sample.value)) for family in families(text) for sample in family.samples)


def _sum(samples: Iterable[tuple[Mapping[str, str], float]]) -> float:
    return sum(value for _, value in samples)


@pytest.mark.parametrize("case", CASES)
def test_the_spans_tell_what_was_recorded(accounts: Accounts, case: str) -> None:
    recorded = accounts.records[case]
    row = recorded.interception
    spans = accounts.spans[row["id"]]
    (root,) = _roots(spans)
    assert (root.attributes["user_id"], root.attributes["model"], root.attributes["streaming"]) == (
        row["initiator_id"],
        row["model"],
        bool(row["streaming"]),
    )
    assert root.trace_id == row["trace_id"]
    assert root.attributes.get("error.type") == row["error_type"]
    assert (root.error is not None) == (row["status"] == "failed")
    found = Counter(span.name for span in spans)
    assert {name: found[name] for name in RECORDINGS} == {
        name: len(getattr(recorded, kind)) for name, kind in RECORDINGS.items()
    }
    (upstream,) = (span for span in spans if span.name == UPSTREAM)
    for tokens in recorded.tokens:
        told = {name: value for name, value in upstream.attributes.items() if name.startswith("gen_ai.usage.")}
        cached, written = tokens["cache_read_input_tokens"], tokens["cache_write_input_tokens"]
        assert told["gen_ai.usage.input_tokens"] == min(tokens["input_tokens"] + cached + written, 2**63 - 1)
        assert told["gen_ai.usage.output_tokens"] == tokens["output_tokens"]
        assert told.get("gen_ai.usage.cache_read.input_tokens", 0) == cached
        assert upstream.attributes.get("gen_ai.response.model") == tokens["provider_model"] or None
        assert upstream.attributes.get("gen_ai.response.id", "") == tokens["msg_id"]
    assert not [name for name in upstream.attributes if name.startswith("gen_ai.usage.")] or recorded.tokens


@pytest.mark.parametrize("case", CASES)
def test_the_log_lines_tell_what_was_recorded(accounts: Accounts, case: str) -> None:
    recorded = accounts.records[case]
    row = recorded.interception
    lines = accounts.lines[row["id"]]
    (start,) = (line for line in lines if line["record_type"] == "interception_start")
    (end,) = (line for line in lines if line["record_type"] == "interception_end")
    assert {name: start[name] for name in ("initiator_id", "provider", "model", "client", "started_at")} == {
        "initiator_id": row["initiator_id"],
        "provider": row["provider"],
        "model": row["model"],
        "client": row["client"],
        "started_at": row["started_at"],
    }
    assert start["client_session_id"] == row["client_session_id"] == case
    assert start["correlating_tool_call_id"] == row["correlating_tool_call_id"]
    assert (end["ended_at"], end["status"], end["error_type"]) == (row["ended_at"], row["status"], row["error_type"])
    for kind, (rows, names) in LINES.items():
        told = [{name: line[name] for name in names} for line in lines if line["record_type"] == kind]
        kept = [{name: one[column] for name, column in names.items()} for one in getattr(recorded, rows)]
        assert told == kept, kind


@pytest.mark.parametrize("case", CASES)
def test_the_access_log_tells_what_was_recorded(accounts: Accounts, case: str) -> None:
    row = accounts.records[case].interception
    (line,) = accounts.access[row["id"]]
    assert (line["actor"], line["status"], line["request_id"]) == (ACTOR, row["http_status"], row["request_id"])


def test_the_metrics_tell_what_was_recorded(accounts: Accounts) -> None:
    found = list(accounts.records.values())
    told = Counter[tuple[str, ...]]()
    for labels, value in accounts.metrics["aibridge_interceptions_total"]:
        told[labels["status"], labels["model"], labels["client"]] += int(value)
    assert told == Counter(
        (one.interception["status"], one.interception["model"], one.interception["client"]) for one in found
    )
    assert _sum(accounts.metrics["aibridge_interceptions_duration_seconds_count"]) == len(found)
    assert _sum(accounts.metrics.get("aibridge_interceptions_inflight", ())) == 0
    assert _sum(accounts.metrics["aibridge_prompts_total"]) == sum(len(one.prompts) for one in found)
    assert _sum(accounts.metrics["aibridge_non_injected_tool_selections_total"]) == sum(len(one.tools) for one in found)
    tokens = [row for one in found for row in one.tokens]
    for name in ("input", "output", "cache_read_input_tokens", "cache_write_input_tokens"):
        column = name if name.startswith("cache") else f"{name}_tokens"
        counted = _sum(
            (labels, value) for labels, value in accounts.metrics["aibridge_tokens_total"] if labels["type"] == name
        )
        assert counted == pytest.approx(sum(row[column] for row in tokens)), name


def test_nobody_tells_of_anything_else(accounts: Accounts) -> None:
    ids = {one.interception["id"] for one in accounts.records.values()}
    assert {name for name in accounts.spans if name} == ids
    assert set(accounts.lines) == ids
    assert {name for name in accounts.access if name} == ids


def test_every_situation_is_among_them(accounts: Accounts) -> None:
    """So that an empty list of transcripts agrees with nothing."""
    assert len(accounts.records) == len(PLAYS) > 100
