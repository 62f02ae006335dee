"""The transcripts are what they claim to be: the `openai` package's models are the judge."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.responses import CompactedResponse, Response, ResponseStreamEvent
from pydantic import TypeAdapter

from examples.events import TERMINAL, events
from sidecar.core.records import Thought, Tokens
from tests.transcripts import HERE, Transcript, load, plays

Object = dict[str, Any]
ALWAYS = {"about", "request", "response", "expected"}
SOMETIMES = {"odd", "only", "path", "status", "content_type", "ascii", "events", "sse", "text"}
RECORDS = {
    "started": (dict, {"model", "correlating_tool_call"}),
    "prompt": (dict, {"msg_id", "text"}),
    "tokens": (dict, set(Tokens.__slots__) - {"interception", "at"}),
    "tools": (list, {"msg_id", "item_id", "tool_call_id", "kind", "name", "input"}),
    "thoughts": (list, set(Thought.__slots__) - {"interception", "at"}),
    "ended": (dict, {"failure", "http_status", "mentions", "hides"}),
}
STREAM_EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)

every = pytest.mark.parametrize("transcript", load().values(), ids=load().keys())
SOUND = [play for play in plays() if not play[0].odd and play[0].status == 200]


def each(*chosen: tuple[Transcript, bool]) -> pytest.MarkDecorator:
    ids = [f"{transcript.name}-{'streamed' if streaming else 'whole'}" for transcript, streaming in chosen]
    return pytest.mark.parametrize(("transcript", "streaming"), chosen, ids=ids)


def data(stream: bytes) -> Iterator[Object]:
    """The events of a stream that keeps to one event line and one data line."""
    for block in stream.decode().split("\n\n")[:-1]:
        name, text = block.split("\n")
        value = json.loads(text.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        yield value


def answer(transcript: Transcript, *, streaming: bool) -> Object | None:
    """The object that a typed client ends up with; None where the stream broke off, or the object is another.

    What a final object leaves out is what the client was told item by item.
    """
    if transcript.path != "responses":
        return None
    if not streaming:
        whole: Object = json.loads(transcript.whole())
        return whole
    told: list[Object] = []
    for event in data(transcript.streamed()):
        if event["type"] == "response.output_item.done":
            told.append(event["item"])
        if event["type"].removeprefix("response.") in TERMINAL:
            final: Object = event["response"]
            return final | {"output": final["output"] or told}
    return None


def entries(expected: Object, kind: str) -> list[Object]:
    value = expected[kind]
    return value if isinstance(value, list) else [value] if value else []


def test_every_situation_that_the_project_promises_is_there() -> None:
    promised = """simple cached_input cache_write reasoning_summary commentary parallel_tools custom_tool hosted_tools
    mcp_call bad_tool_arguments blank_tool_arguments tool_result_follow_up no_usage odd_usage incomplete failed
    stream_error_flat stream_error_nested error_then_completed cut_short cut_after_tool http_400 http_401 http_429
    http_500 prompt_array_parts prompt_trailing_developer prompt_assistant_last prompt_image_only prompt_empty_string
    unicode lone_surrogates empty_output two_response_ids late_id unknown_item_types compaction service_tier
    number_model keep_alives done_marker output_left_out done_event stream_error_untyped"""
    assert set(re.findall(r"\w+", promised)) <= load().keys()


@every
def test_a_file_says_why_it_is_there_in_words_of_its_own(transcript: Transcript) -> None:
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", transcript.name)
    assert transcript.about.endswith(".")
    assert ALWAYS <= transcript.file.keys() <= ALWAYS | SOMETIMES
    assert [other.name for other in load().values() if other.about == transcript.about] == [transcript.name]


@every
def test_a_file_names_every_key_once(transcript: Transcript) -> None:
    """A doubled key would be dropped without a word."""

    def unique(pairs: list[tuple[str, Any]]) -> Object:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    json.loads((HERE / f"{transcript.name}.json").read_text(), object_pairs_hook=unique)


def test_no_two_situations_share_an_id() -> None:
    """A record that strays into another situation is seen."""
    ids = [entry["msg_id"] for t in load().values() for entry in entries(t.file["expected"], "prompt")]
    assert len([one for one in ids if one]) == len({one for one in ids if one})


@every
def test_expected_records_have_the_fields_that_records_have(transcript: Transcript) -> None:
    expected = transcript.file["expected"]
    assert expected.keys() == RECORDS.keys()
    for kind, (shape, fields) in RECORDS.items():
        assert isinstance(expected[kind], (shape, type(None)))
        for entry in entries(expected, kind):
            assert entry.keys() <= fields
            assert fields - entry.keys() <= {"mentions", "hides"}


@every
def test_expected_tool_inputs_are_json(transcript: Transcript) -> None:
    for tool in transcript.file["expected"]["tools"]:
        hosted = tool["kind"] not in {"function_call", "custom_tool_call"}
        assert (tool["input"] is None) == hosted
        json.loads(tool["input"] or "null")


@every
def test_expected_records_know_whether_they_stream(transcript: Transcript) -> None:
    assert transcript.plays
    for streaming in transcript.plays:
        assert transcript.expected(streaming)["started"]["streaming"] is streaming
        assert json.loads(transcript.request(streaming)).get("stream", False) is streaming
        assert transcript.answer(streaming)
    assert "streaming" not in transcript.file["expected"]["started"]


@every
def test_what_a_failure_hides_is_there_to_be_hidden(transcript: Transcript) -> None:
    """A canary that nobody planted proves nothing."""
    ended = transcript.file["expected"]["ended"]
    for streaming in transcript.plays:
        sent = transcript.answer(streaming).decode()
        assert [word for word in [*ended.get("hides", ()), *ended.get("mentions", ())] if word not in sent] == []


@each(*SOUND)
def test_an_answer_is_one_that_the_sdk_has_a_model_for(transcript: Transcript, *, streaming: bool) -> None:
    if streaming:
        for event in data(transcript.streamed()):
            STREAM_EVENT.validate_python(event)
    elif transcript.path == "responses":
        Response.model_validate_json(transcript.whole())
    else:
        CompactedResponse.model_validate_json(transcript.whole())


@each(*(play for play in SOUND if answer(play[0], streaming=play[1])))
def test_expected_records_agree_with_the_sdks_reading(transcript: Transcript, *, streaming: bool) -> None:
    """The records were written by hand; what the typed models say of usage and calls cannot differ."""
    typed = Response.model_validate(answer(transcript, streaming=streaming))
    expected = transcript.expected(streaming)
    calls = [(item.name, item.call_id) for item in typed.output if item.type == "function_call"]
    functions = [tool for tool in expected["tools"] if tool["kind"] == "function_call"]
    assert calls == [(tool["name"], tool["tool_call_id"]) for tool in functions]
    total = expected["tokens"] and expected["tokens"]["extra"]["total_tokens"]
    assert total == (typed.usage and typed.usage.total_tokens)


@each(*(play for play in SOUND if play[1]))
def test_a_stream_is_numbered_and_its_deltas_make_its_texts(transcript: Transcript, *, streaming: bool) -> None:
    assert streaming
    seen = list(data(transcript.streamed()))
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    for done in (event for event in seen if event["type"].endswith("text.done")):
        parts = [event["delta"] for event in seen if event["type"] == done["type"].replace(".done", ".delta")]
        assert done["text"] in "".join(parts)


def test_a_stream_is_derived_from_its_final_response() -> None:
    """The sequence that the API reference gives for a text."""
    assert [event["type"] for event in events(load()["simple"].response)] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_an_error_is_json_though_a_stream_was_asked_for() -> None:
    refused = load()["http_429"]
    assert refused.answer(streaming=True) == refused.answer(streaming=False)
    assert refused.content_type(streaming=True) == "application/json"
    assert load()["simple"].content_type(streaming=True) == "text/event-stream; charset=utf-8"


def test_what_json_may_hold_travels_raw_or_escaped() -> None:
    """The same text both ways: readers meet both."""
    assert "line\u2028para".encode() in load()["unicode"].streamed()
    assert b"line\\u2028para" in load()["unicode_escaped"].streamed()
    assert b"half \\ud800 a thought" in load()["lone_surrogates"].streamed()
