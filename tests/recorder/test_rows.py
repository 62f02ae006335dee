import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.records import Ended, Passed
from sidecar.recorder.rows import ENDED, PROMPT, STARTED, THOUGHT, TOKENS, TOOL, Row, moment, row
from tests.recorder import journal_samples as samples

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MADE = {
    "interceptions": (samples.started(), "unused", samples.STARTED_ROW),
    "user_prompts": (samples.prompt(), "id-0001", samples.PROMPT_ROW),
    "token_usages": (samples.tokens(), "id-0002", samples.TOKENS_ROW),
    "tool_usages": (samples.tool(), "id-0003", samples.TOOL_ROW),
    "model_thoughts": (samples.thought(), "id-0004", samples.THOUGHT_ROW),
}


def written(database: Path, *rows: Row) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for made in rows:
            connection.execute(made.statement.sql, made.values)


@pytest.mark.parametrize("table", MADE)
def test_a_record_becomes_one_row_of_its_table(database: Path, table: str) -> None:
    """Every column is named, so that none can slip into its neighbour's place."""
    record, row_id, expected = MADE[table]
    written(database, row(record, row_id, samples.WORKER))
    assert samples.table(database, table) == [expected]


@pytest.mark.parametrize("table", MADE)
def test_a_repeated_record_changes_nothing(database: Path, table: str) -> None:
    """A commit may have succeeded although it was reported as failed; then it is tried again."""
    record, row_id, expected = MADE[table]
    written(database, row(record, row_id, samples.WORKER), row(record, row_id, "another"))
    assert samples.table(database, table) == [expected]


def test_an_end_completes_its_interception_and_forgets_the_open_prompt(database: Path) -> None:
    written(database, row(samples.started(), "", samples.WORKER), row(samples.ended(), "", samples.WORKER))
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]


def test_a_failure_is_told_by_type_and_message(database: Path) -> None:
    written(database, row(samples.started(), "", samples.WORKER), row(samples.failed(), "", samples.WORKER))
    assert samples.table(database, "interceptions") == [
        samples.ENDED_ROW
        | {"status": "failed", "error_type": "server_error", "error_message": "the provider answered 500"}
    ]


def test_an_interception_ends_once(database: Path) -> None:
    """Whoever ended it as lost knew that its worker was gone; what comes later is a ghost."""
    made = [row(record, "", samples.WORKER) for record in (samples.started(), samples.ended(), samples.failed())]
    written(database, *made)
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]


def test_an_empty_mapping_is_an_empty_object() -> None:
    record = samples.started()
    bare = {field: getattr(record, field) for field in record.__slots__} | {"actor_metadata": {}}
    assert row(type(record)(**bare), "", "w").values[2] == "{}"


def test_an_interception_comes_before_what_belongs_to_it_and_its_end() -> None:
    assert [statement.rank for statement in (STARTED, PROMPT, TOKENS, TOOL, THOUGHT, ENDED)] == [0, 1, 2, 3, 4, 5]


def test_what_is_not_stored_has_no_row() -> None:
    passed = Passed(
        at=1.0, ended_at=2.0, actor="a", provider_name="p", method="GET", path="/p", url="http://p", http_status=200
    )
    with pytest.raises(TypeError):
        row(passed, "", "w")  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 1e300])
def test_a_time_that_is_none_has_no_row(at: float) -> None:
    record = Ended(interception="i", at=at, failure=None, http_status=None, provider_request_id=None)
    with pytest.raises((ValueError, OverflowError)):
        row(record, "", "w")


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (1.5, "1970-01-01T00:00:01.500000Z"),
        (1_000_000_000.000001, "2001-09-09T01:46:40.000001Z"),
        (1_767_225_599.9999999, "2026-01-01T00:00:00.000000Z"),
        (-0.25, "1969-12-31T23:59:59.750000Z"),
    ],
)
def test_a_moment_is_written_to_the_microsecond(at: float, text: str) -> None:
    assert moment(at) == text


@given(st.floats(min_value=0, max_value=4e9))
def test_a_moment_is_read_back_within_a_microsecond(at: float) -> None:
    read = datetime.strptime(moment(at), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert abs((read - EPOCH) / timedelta(seconds=1) - at) <= 1e-6


@given(st.floats(min_value=0, max_value=4e9), st.floats(min_value=0, max_value=4e9))
def test_moments_sort_as_their_times(one: float, other: float) -> None:
    """The tables are asked by time, and in SQLite a time is text."""
    early, late = sorted((one, other))
    assert moment(early) <= moment(late)
