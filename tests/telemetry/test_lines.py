"""The lines that others rely on, and the page that promises them."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from sidecar.core.records import Record
from sidecar.recorder.rows import moment
from sidecar.telemetry.lines import MESSAGE, Lines, line
from tests.telemetry.interceptions import ENDED, FORWARDED, LIMITED, PASSED, PROMPT, STARTED, THOUGHT, TOKENS, TOOL

PAGE = (Path(__file__).parents[2] / "docs/observability/logs.md").read_text()
SAMPLES = (
    replace(STARTED, client_session="session-1", actor_metadata={"team": "tides"}, correlating_tool_call="call_0"),
    LIMITED,
    TOKENS,
    replace(PROMPT, text="What keeps the tide?"),
    replace(TOOL, name="read_file", input='{"path":"tides.txt"}'),
    replace(THOUGHT, text="The moon, then."),
)


def test_the_page_shows_every_line_as_it_is() -> None:
    """Field by field: the page is the promise."""
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    assert shown == [line(record, moment) for record in SAMPLES]


def test_a_record_is_one_line_at_info() -> None:
    with capture_logs() as logged:
        Lines(moment)([STARTED, FORWARDED, PROMPT, ENDED])
    assert [(entry["event"], entry["log_level"], entry["record_type"]) for entry in logged] == [
        (MESSAGE, "info", "interception_start"),
        (MESSAGE, "info", "prompt_usage"),
        (MESSAGE, "info", "interception_end"),
    ]


def test_an_end_that_is_well_has_no_error() -> None:
    said = line(ENDED, moment)
    assert said is not None
    assert (said["status"], said["error_type"]) == ("completed", None)


@pytest.mark.parametrize("record", [FORWARDED, PASSED])
def test_what_is_not_stored_has_no_line(record: Record) -> None:
    assert line(record, moment) is None


@given(text=st.text())
def test_no_text_breaks_a_line_in_two(text: str) -> None:
    """A line is one JSON object, whatever a prompt holds."""
    said = json.dumps(line(replace(PROMPT, text=text), moment))
    assert "\n" not in said
    assert said.isascii()
    assert json.loads(said)["prompt"] == text
