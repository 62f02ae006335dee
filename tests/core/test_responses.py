import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.core.records import Answered, ErrorType, Failure, Thought, Tokens, Tool
from sidecar.core.responses import MAX_ROOM, Answer, deltas, may_end, tells
from sidecar.core.sse import Splitter

Object = dict[str, Any]
Found = tuple[str, Failure | None, list[Tokens | Tool | Thought]]
FAILED = "the provider reported that the response failed"
ERROR = "the provider reported an error"
TOKENS = Tokens(
    interception="i",
    at=1.0,
    msg_id="resp_1",
    input=0,
    output=0,
    cache_read=0,
    cache_write=0,
    extra={"input_cached": 0, "output_reasoning": 0, "total_tokens": 0},
    provider_model=None,
    service_tier=None,
)
TOOL = Tool(
    interception="i",
    at=1.0,
    msg_id="resp_1",
    item_id="fc_1",
    tool_call_id="call_1",
    kind="function_call",
    name="look",
    input='""',
)
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look"}
THOUGHT = Thought(interception="i", at=1.0, msg_id="resp_1", source="reasoning_summary", text="hm")
REASONING = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
DONE = {"type": "response.output_item.done", "item": REASONING}
COMPLETED = {"type": "response.completed", "response": {"id": "resp_1", "usage": {"total_tokens": 0}}}


def answer(recorded_bytes: int = 1000) -> Answer:
    return Answer(interception="i", recorded_bytes=recorded_bytes, is_credential="sk_secret".__eq__)


def result(read: Answer) -> Found:
    return read.id, read.failure, list(read.records())


def whole(document: Object | bytes, recorded_bytes: int = 1000) -> Found:
    read = answer(recorded_bytes)
    read.document(document if isinstance(document, bytes) else json.dumps(document).encode(), 1.0)
    return result(read)


def streamed(*told: Object | bytes) -> Found:
    read = answer()
    for event in told:
        read.event(event if isinstance(event, bytes) else json.dumps(event).encode(), 1.0)
    return result(read)


def output(*items: object, recorded_bytes: int = 1000) -> list[Tokens | Tool | Thought]:
    """What is found in a response with these items."""
    *_, found = whole({"id": "resp_1", "output": items}, recorded_bytes)
    return found


def failure(message: str, kind: ErrorType = ErrorType.UNKNOWN) -> Failure:
    return Failure(type=kind, message=message)


# Events told apart without decoding


@pytest.mark.parametrize(
    ("event", "telling", "ending"),
    [
        (b'{"type":"response.completed"}', True, True),
        (b' {\n"type" : "response.incomplete"', True, True),
        (b'{"type":"response.failed","response":{}}', True, True),
        (b'{"type":"response.done"}', True, True),
        (b'{"type":"response.output_item.done"}', True, False),
        (b'{"type":"response.created","response":{}}', True, False),
        (b'{"type":"response.queued"}', True, False),
        (b'{"type":"response.in_progress"}', True, False),
        (b'{"type":"error"}', True, False),
        (b'{"type":"response.output_text.delta","delta":"\\"response.completed\\""}', False, False),
        (b'{"type":"response.output_item.added","item":{"type":"error"}}', False, False),
        (b'{"response":{},"type":"response.completed"}', True, True),
        (b'{"response":{},"type":"response.done"}', True, True),
        (b'{"delta":"x","type":"response.output_text.delta"}', False, True),
        (rb'{"type":"response\u002ecompleted"}', True, True),
        (rb'{"\u0074ype":"response.completed"}', True, True),
        (rb'{"delta":"\u00e9","type":"response.output_text.delta"}', False, True),
        (b"[DONE]", False, True),
        (b"", False, True),
    ],
)
def test_an_event_is_told_by_its_bytes(event: bytes, *, telling: bool, ending: bool) -> None:
    """In doubt it tells something, and may be the last."""
    assert tells(event) is telling
    assert may_end(event) is ending


DELTA = b'data: {"type":"response.output_text.delta","delta":"\\"error\\""}\n\n'


@pytest.mark.parametrize(
    ("data", "nothing_else"),
    [
        (DELTA, True),
        (DELTA * 3, True),
        (b"event: response.output_text.delta\n" + DELTA, True),
        (b'data: {"type":"response.code_interpreter_call_code.delta"}\n\n', True),
        (b'data: {"type":"response.a.b.delta","x":{"type":"response.completed"}}\n\n', True),
        (b"", False),
        (DELTA[:-1], False),
        (DELTA + b"data: ", False),
        (DELTA + b'data: {"type":"error"}\n\n', False),
        (DELTA.replace(b"\n", b"\r\n"), False),
        (DELTA.replace(b"}", b"\r"), False),
        (b": ping\n\n" + DELTA, False),
        (b'data: {"type":"response.completed","delta":"x.delta"}\n\n', False),
        (rb'data: {"type":"response.\u0061.delta"}' + b"\n\n", False),
        (b'data: {"x":1,"type":"response.x.delta"}\n\n', False),
        (b'data: {"type":"response.x.delta"}\ndata: {"type":"response.completed"}\n\n', False),
    ],
)
def test_deltas_are_told_without_being_parted(data: bytes, *, nothing_else: bool) -> None:
    """In the form in which they come; other forms are parted first."""
    assert bool(deltas(data)) is nothing_else


PIECES = st.sampled_from(
    [
        *(DELTA, b"event: x.y\n", b"data: ", b'{"type":"response.', b"x", b".", b"delta", b'"', b"}", b"\n", b"\n\n"),
        *(b"\r", b"completed", b'data: {"type":"error","code":1}\n\n'),
    ]
)


@given(data=st.lists(PIECES, max_size=12).map(b"".join))
def test_what_is_said_to_be_deltas_is_whole_events_that_tell_nothing(data: bytes) -> None:
    splitter = Splitter(1000)
    events = splitter.feed(b"\n" + data)
    assert not deltas(data) or (splitter.between and not any(map(tells, events)))


# The response


def test_a_document_is_read_whatever_its_status() -> None:
    document = {"id": "resp_1", "status": "in_progress", "usage": {"total_tokens": 0}, "output": [REASONING, CALL]}
    assert whole(document) == ("resp_1", None, [TOKENS, THOUGHT, TOOL])


@pytest.mark.parametrize("name", ["completed", "incomplete", "failed"])
def test_a_stream_is_read_from_its_terminal_event(name: str) -> None:
    """What came before is in it, too."""
    end = {
        "type": f"response.{name}",
        "response": {"id": "resp_1", "usage": {"total_tokens": 0}, "output": [REASONING, CALL]},
    }
    failed = failure(FAILED) if name == "failed" else None
    assert streamed(DONE, end) == ("resp_1", failed, [TOKENS, THOUGHT, TOOL])


@pytest.mark.parametrize(
    ("response", "found"),
    [
        (
            {"id": "resp_1", "model": "m-1", "service_tier": "flex", "status": "completed"},
            Answered(response="resp_1", model="m-1", service_tier="flex", status="completed"),
        ),
        (
            {"id": "resp_1", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            Answered(response="resp_1", status="incomplete", incomplete_reason="max_output_tokens"),
        ),
        ({"model": 1, "status": {}, "incomplete_details": "no"}, Answered()),
    ],
)
def test_what_a_response_says_of_itself_is_read(response: Object, found: Answered) -> None:
    document, events = answer(), answer()
    document.document(json.dumps(response).encode(), 1.0)
    events.event(json.dumps({"type": "response.incomplete", "response": response}).encode(), 1.0)
    assert (document.answered, events.answered) == (found, found)


def test_until_then_each_item_counts_when_it_is_done() -> None:
    """An agent may already be running the tool; its id comes when it comes."""
    created = {"type": "response.created", "response": {"id": "resp_1"}}
    assert streamed(DONE) == ("", None, [replace(THOUGHT, msg_id="")])
    assert streamed(DONE, created, DONE | {"item": CALL}) == ("resp_1", None, [THOUGHT, TOOL])
    assert streamed(DONE, COMPLETED) == ("resp_1", None, [TOKENS, THOUGHT])


@pytest.mark.parametrize("left_out", [{"output": []}, {"output": None}, {}])
@pytest.mark.parametrize("end", ["response.completed", "response.incomplete", "response.failed", "response.done"])
def test_what_the_end_leaves_out_stays_as_each_item_told_it(end: str, left_out: Object) -> None:
    """ChatGPT's own backend ends so where nothing is stored."""
    *_, found = streamed(DONE, {"type": end, "response": {"id": "resp_1", **left_out}})
    assert found == [THOUGHT]


def test_the_first_id_that_is_not_empty_counts() -> None:
    ids = [{"type": "response.created", "response": {"id": name}} for name in ("", None, "resp_1", "resp_2")]
    assert streamed(*ids, COMPLETED)[0] == "resp_1"
    assert whole({"id": "a\0" + "x" * 2000})[0] == "a\ufffd" + "x" * 1020


def test_an_event_that_tells_nothing_changes_nothing() -> None:
    for odd in ({"type": "response.future", "response": {"id": ""}}, {}, {"type": 1, "item": CALL}, b"no JSON", b"[]"):
        assert streamed(odd) == ("", None, [])
    read = answer()
    read.event(json.dumps(DONE).encode(), 1.0)
    assert not read.ended
    read.event(json.dumps(COMPLETED).encode(), 1.0)
    assert read.ended


# Failures


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"code": "rate_limit"}, " (rate_limit)"),
        ({"type": "tokens", "code": "rate.limit_1", "message": "secret"}, " (tokens, rate.limit_1)"),
        ({"type": "tokens", "code": None}, " (tokens)"),
        ({"type": "sk_secret", "code": "sk_secret"}, ""),
        ({"type": "two words", "code": "UPPER"}, ""),
        ({"type": "x" * 65, "code": "x\n"}, ""),
        ({"type": ["x"], "code": 429}, " (429)"),
        ({"type": True, "code": -1}, ""),
        ({}, ""),
    ],
)
def test_of_an_error_only_words_are_kept_that_can_be_no_secret(error: Object, words: str) -> None:
    """Providers echo keys and prompts."""
    failed = {"status": "failed", "error": error}
    assert whole(failed) == ("", failure(FAILED + words), [])
    assert streamed({"type": "response.failed", "response": failed})[1] == failure(FAILED + words)
    assert streamed({"type": "response.failed", "response": {"error": error}})[1] == failure(FAILED + words)
    assert streamed({"type": "response.failed", "error": error})[1] == failure(FAILED + words)
    assert streamed({"type": "error", "error": error} | ({} if error else {"code": [1]}))[1] == failure(ERROR + words)
    assert answer().told(json.dumps({"error": error}).encode()) == words


def test_an_error_may_be_flat_and_does_not_end_the_reading() -> None:
    flat = {"type": "error", "code": "odd", "message": "secret", "error": None}
    assert streamed(flat, COMPLETED) == ("resp_1", failure(f"{ERROR} (odd)"), [TOKENS])
    assert whole(flat) == ("", failure(f"{ERROR} (odd)"), [])
    assert whole({"type": "error"}) == ("", failure(ERROR), [])


def test_an_error_may_come_without_a_type() -> None:
    """From gateways that answer 200 before their own provider has; the SDKs raise it."""
    error = {"error": {"code": 502, "message": "secret"}}
    assert streamed(error, COMPLETED) == ("resp_1", failure(f"{ERROR} (502)"), [TOKENS])
    assert whole(error) == ("", failure(f"{ERROR} (502)"), [])
    assert streamed({"error": "secret"})[1] == failure(ERROR)
    assert whole({"error": "secret", "status": 502})[1] == failure(ERROR)
    for none in ({"error": None}, {"error": {}}, {"error": ""}, {"error": []}):
        assert streamed(none)[1] is None
        assert whole(none)[1] is None
    assert streamed({"type": "response.odd", **error})[1] is None
    assert whole({"status": "completed", **error})[1] is None


def test_the_first_failure_is_the_one_that_is_told() -> None:
    error = {"type": "error", "code": "odd"}
    assert streamed(error, {"type": "response.failed", "response": {}})[1] == failure(f"{ERROR} (odd)")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'"x"', b"{%s}" % b",".join(b'"%d":0' % at for at in range(10_001))]
)
def test_a_document_that_cannot_be_read_has_failed(data: bytes) -> None:
    unread = failure("the response is no JSON object that can be read", ErrorType.UNREAD)
    assert whole(data) == ("", unread, [])
    assert answer().told(data) == ""


# Token usage


@pytest.mark.parametrize("usage", [None, {}, [], 1, "1"])
def test_without_usage_nothing_is_estimated(usage: object) -> None:
    assert whole({"id": "resp_1", "usage": usage}) == ("resp_1", None, [])
    assert whole({"id": "resp_1"}) == ("resp_1", None, [])


def test_the_providers_count_leaves_out_what_was_cached() -> None:
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 15},
        "total_tokens": 120,
    }
    assert whole({"id": "resp_1", "usage": usage, "model": "m-1", "service_tier": "flex"})[2] == [
        Tokens(
            interception="i",
            at=1.0,
            msg_id="resp_1",
            input=10,
            output=20,
            cache_read=60,
            cache_write=30,
            extra={"input_cached": 60, "output_reasoning": 15, "total_tokens": 120},
            provider_model="m-1",
            service_tier="flex",
        )
    ]


def test_odd_counts_are_none_and_cost_their_neighbours_nothing() -> None:
    usage = {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": "3", "total_tokens": -4}
    extra = {"input_cached": 2, "output_reasoning": 0, "total_tokens": 0}
    expected = replace(TOKENS, cache_read=2, extra=extra)
    assert whole({"id": "resp_1", "usage": usage, "model": 1, "service_tier": None})[2] == [expected]


# Tools


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ('{"at": 1}', '{"at": 1}'),
        (" \n[1,\t2] \u00a0", "[1,\t2]"),
        ("7", "7"),
        ('"text"', '"text"'),
        (r'{"a":"\ud800"}', r'{"a":"\ufffd"}'),
        ("look here ", '"look here"'),
        ('{"cut', '"{\\"cut"'),
        ("NaN", '"NaN"'),
        ("", '""'),
        (" \n", '""'),
        (None, '""'),
        (1, '""'),
        ({"at": 1}, '{"at": 1}'),
        ([1], "[1]"),
    ],
)
def test_arguments_are_json_or_become_a_string(arguments: object, kept: str) -> None:
    assert output(CALL | {"arguments": arguments}) == [replace(TOOL, input=kept)]


@pytest.mark.parametrize(("sent", "kept"), [(" {} ", '" {} "'), ("", '""'), (None, '""'), ({"a": 1}, '""')])
def test_a_custom_tools_input_is_kept_as_it_stands(sent: object, kept: str) -> None:
    call = {**CALL, "type": "custom_tool_call", "input": sent}
    assert output(call) == [replace(TOOL, kind="custom_tool_call", input=kept)]


@pytest.mark.parametrize(
    "kind",
    [
        *("web_search_call", "file_search_call", "computer_call", "code_interpreter_call", "image_generation_call"),
        *("mcp_call", "local_shell_call", "shell_call", "apply_patch_call"),
    ],
)
def test_a_hosted_tool_has_a_name_and_no_input(kind: str) -> None:
    hosted = replace(TOOL, kind=kind, name=kind, item_id="x", tool_call_id=None, input=None)
    assert output({"type": kind, "id": "x", "arguments": "{}"}) == [hosted]
    assert output({"type": kind, "id": "x", "name": "look", "call_id": 1}) == [replace(hosted, name="look")]


def test_a_tool_need_not_say_anything() -> None:
    bare = replace(TOOL, item_id=None, tool_call_id=None, name="function_call")
    assert output({"type": "function_call"}, {"type": "function_call", "name": "", "id": 1}) == [bare, bare]
    long = CALL | {"name": "a\0" + "x" * 2000}
    assert output(long) == [replace(TOOL, name="a\ufffd" + "x" * 1020)]


TOLD_TOOLS = [("function_call", "arguments"), ("custom_tool_call", "input")]


@pytest.mark.parametrize(("kind", "name"), TOLD_TOOLS)
@pytest.mark.parametrize(
    "sent", ["say 'hi' " * 20, '"\n\\' * 60, "[" + "1," * 100 + "1]", "é" * 100, '{"a"' + "\tx" * 99]
)
def test_what_is_too_long_to_keep_is_cut_and_stays_json(kind: str, name: str, sent: str) -> None:
    """It is cut as it was said, not as JSON spells it: whoever has it finds its beginning, its length and its hash."""
    [tool] = output({"type": kind, name: sent}, recorded_bytes=50)
    assert isinstance(tool, Tool)
    said = (sent.strip() if name == "arguments" else sent).encode()
    digest = hashlib.sha256(said).hexdigest()
    assert (
        json.loads(tool.input or "") == f"{said[:50].decode()}\u2026 [cut at 50 of {len(said)} bytes, sha256 {digest}]"
    )


@pytest.mark.parametrize(("kind", "name"), TOLD_TOOLS)
def test_how_long_json_spells_it_cuts_nothing(kind: str, name: str) -> None:
    sent = '"' * 50
    [tool] = output({"type": kind, name: sent}, recorded_bytes=50)
    assert isinstance(tool, Tool)
    assert json.loads(tool.input or "") == sent


def test_a_thought_too_long_to_keep_is_cut() -> None:
    [thought] = output({"type": "reasoning", "summary": [{"text": "x" * 51}]}, recorded_bytes=50)
    assert isinstance(thought, Thought)
    assert thought.text.startswith("x" * 50 + "\u2026 [cut at 50 of 51 bytes")


@pytest.mark.parametrize(
    ("kind", "sent", "kept"),
    [
        ("custom_tool_call", "a\0b", r'"a�b"'),
        ("function_call", "a\0b", r'"a�b"'),
        ("function_call", r'{"a\u0000":"\\u0000\\\u0000 \u00001"}', r'{"a\ufffd":"\\u0000\\\ufffd \ufffd1"}'),
        ("function_call", {"a": "\0"}, r'{"a": "\ufffd"}'),
    ],
)
def test_what_postgresql_takes_for_no_json_is_not_kept(kind: str, sent: object, kept: str) -> None:
    """U+0000, which it has in no text."""
    [tool] = output({"type": kind, "arguments": sent, "input": sent})
    assert isinstance(tool, Tool)
    assert tool.input == kept


# Thoughts


def test_each_summary_is_a_thought_and_so_is_commentary() -> None:
    """In output order; what is empty, and what is said to the user, is none."""
    summary = [{"type": "summary_text", "text": text} for text in ("a", "", None, "b")]
    said = [
        {"type": "output_text", "text": "c"},
        {"type": "refusal", "text": "no"},
        {"type": "output_text", "text": ""},
    ]
    commentary = {"type": "message", "role": "assistant", "phase": "commentary", "content": said}
    expected = [replace(THOUGHT, text="a"), replace(THOUGHT, text="b")]
    expected.append(replace(THOUGHT, source="commentary", text="c"))
    assert output({"type": "reasoning", "summary": [*summary, None, "no"]}, commentary) == expected
    for other in ({"phase": "final_answer"}, {"role": "user"}, {"phase": None}):
        assert output(commentary | other) == []


@pytest.mark.parametrize("strange", [None, 1, "x", [], [1], {}, {"type": "future_call"}])
def test_an_unknown_item_is_nothing(strange: object) -> None:
    assert output(strange, REASONING, {"type": "reasoning", "summary": strange}) == [THOUGHT]
    assert whole({"id": "resp_1", "output": strange}) == ("resp_1", None, [])
    assert streamed(DONE | {"item": strange}, {"type": "response.output_item.done"}) == ("", None, [])


# Bounds

TOO_COMPLEX = failure("the response has too many items or too much text", ErrorType.UNREAD)
MOST = MAX_ROOM // 2048  # items and parts


@pytest.mark.parametrize(
    ("most", "more"),
    [
        ([{}] * (MOST - 3) + [REASONING], [{}] * MOST + [REASONING]),
        ([{"type": "reasoning", "summary": [{}] * (MOST - 100)}], [{"type": "reasoning", "summary": [{}] * MOST}]),
        ([CALL | {"arguments": "x" * 16_000_000}], [CALL | {"arguments": "x" * 17_000_000}]),
        (
            [CALL | {"type": "custom_tool_call", "input": "x" * 8_000_000}] * 2,
            [CALL | {"arguments": "x" * 6_000_000}] * 3,
        ),
    ],
    ids=["items", "parts", "text", "texts"],
)
def test_what_is_looked_into_is_bounded(most: list[Object], more: list[Object]) -> None:
    """Beyond, no part of it is kept."""
    assert whole({"id": "resp_1", "output": most})[1] is None
    assert whole({"id": "resp_1", "output": more}) == ("resp_1", TOO_COMPLEX, [])
    assert streamed({"type": "response.completed", "response": {"output": more}}) == ("", TOO_COMPLEX, [])


# Whatever comes

TEXT = st.text(st.characters(), max_size=20)
NAMES = st.sampled_from(
    [
        *("type", "id", "status", "usage", "output", "item", "response", "error", "code"),
        *("summary", "content", "text", "arguments", "input"),
    ]
)
TYPES = st.sampled_from(
    [
        *(f"response.{name}" for name in ("completed", "failed", "created", "output_item.done", "output_text.delta")),
        *("error", "reasoning", "function_call", "custom_tool_call", "message"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | TYPES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


@given(document=JSON | st.dictionaries(NAMES, JSON), indent=st.sampled_from([None, 1]))
def test_what_is_said_to_tell_nothing_tells_nothing(document: object, indent: int | None) -> None:
    """And what cannot be the last does not end it."""
    event, read = json.dumps(document, indent=indent).encode(), answer()
    read.event(event, 1.0)
    assert tells(event) or read == answer()
    assert may_end(event) or not read.ended


@given(document=JSON, breaks=st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=3)), max_size=3))
def test_whatever_it_is_nothing_is_raised(document: object, breaks: list[tuple[int, bytes]]) -> None:
    data = json.dumps(document).encode()
    for place, splinter in breaks:
        at = place % (len(data) + 1)
        data = data[:at] + splinter + data[at:]
    answer().told(data)
    for msg_id, failed, found in (whole(data), streamed(data)):
        assert all(record.msg_id == msg_id for record in found)
        assert failed is None or failed.type in (ErrorType.UNREAD, ErrorType.UNKNOWN)
