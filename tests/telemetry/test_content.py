import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.telemetry.traces.content import MOST, message, part, plain
from tests.telemetry.interceptions import PROMPT, THOUGHT, TOOL

HOSTED = replace(TOOL, kind="web_search_call", name="web_search_call", input=None, item_id="ws_1")
texts = st.text(max_size=50).flatmap(lambda text: st.sampled_from([text, text * 3000]))
said = st.lists(
    st.one_of(
        texts.map(lambda text: replace(PROMPT, text=text)),
        texts.map(lambda text: replace(THOUGHT, text=text)),
        texts.map(lambda text: replace(TOOL, input=json.dumps({"a": text}))),
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (PROMPT, {"type": "text", "content": "CANARY-prompt"}),
        (THOUGHT, {"type": "reasoning", "content": "CANARY-thought"}),
        (replace(THOUGHT, source="commentary"), {"type": "text", "content": "CANARY-thought"}),
        (TOOL, {"type": "tool_call", "id": "call_1", "name": "CANARY-tool", "arguments": {"path": "CANARY-input"}}),
        (
            replace(TOOL, input="{"),
            {"type": "tool_call", "id": "call_1", "name": "CANARY-tool", "arguments": "{"},
        ),
        (
            replace(TOOL, input=None),
            {"type": "tool_call", "id": "call_1", "name": "CANARY-tool", "arguments": None},
        ),
        (
            HOSTED,
            {
                "type": "server_tool_call",
                "id": "ws_1",
                "name": "web_search_call",
                "server_tool_call": {"type": "web_search_call"},
            },
        ),
        (
            replace(HOSTED, input='{"q":1}'),
            {
                "type": "server_tool_call",
                "id": "ws_1",
                "name": "web_search_call",
                "server_tool_call": {"type": "web_search_call", "arguments": {"q": 1}},
            },
        ),
    ],
)
def test_what_was_said_is_a_part(one: object, expected: dict[str, object]) -> None:
    assert part(one) == expected  # type: ignore[arg-type]  # records


@given(said)
def test_however_much_is_said_it_fits_and_is_json(found: list[object]) -> None:
    text = message("assistant", found, "stop")  # type: ignore[arg-type]  # records
    assert len(text.encode()) <= MOST
    (told,) = json.loads(text)
    assert (told["role"], told["finish_reason"]) == ("assistant", "stop")


def test_what_is_cut_is_told() -> None:
    (told,) = json.loads(message("assistant", [replace(THOUGHT, text="x" * 100_000), PROMPT]))
    cut, left = told["parts"]
    assert cut["content"].endswith("of 100000 characters]")
    assert left["content"] == "[cut: 1 more parts]"


def test_a_plain_text_is_cut_with_its_length_and_hash() -> None:
    assert plain("x" * 10) == "x" * 10
    cut = plain("\N{EURO SIGN}" * 100_000)
    assert len(cut.encode()) <= MOST
    assert "of 300000 bytes, sha256" in cut
