import gzip
import json
from typing import Any

import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.core.events import Headers, Side
from sidecar.core.records import Parameters
from sidecar.core.requests import Request, Unreadable, asks_for_stream, payload, read

LIMIT = 1000
PROMPT = "what is it?"
USER = {"role": "user", "content": PROMPT}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "it is"}
NOTHING = Request(model="", streaming=False, background=False, prompt=None, correlating_tool_call=None, user_id=None)


def asked(**members: object) -> Request:
    return read(json.dumps(members).encode(), LIMIT)


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(side=Side.REQUEST, at=1.0, pairs=pairs)


def unreadable(data: bytes) -> tuple[int, str]:
    with pytest.raises(Unreadable) as raised:
        read(data, LIMIT)
    return raised.value.status, str(raised.value)


# The payload


def test_what_is_not_encoded_is_the_payload_itself() -> None:
    body = b'{"model":"m"}'
    assert payload(headers(), body, len(body)) is body
    assert payload(headers(("content-encoding", "identity")), body, len(body)) is body


@pytest.mark.parametrize(
    ("codings", "body"),
    [
        (("gzip",), gzip.compress(b"{}", mtime=0)),
        (("ZSTD",), zstandard.compress(b"{}")),
        (("gzip, zstd",), zstandard.compress(gzip.compress(b"{}", mtime=0))),
        (("gzip", "zstd"), zstandard.compress(gzip.compress(b"{}", mtime=0))),
    ],
)
def test_what_is_encoded_is_decoded(codings: tuple[str, ...], body: bytes) -> None:
    """A header that stands several times is one list."""
    assert payload(headers(*(("content-encoding", coding) for coding in codings)), body, 100) == b"{}"


@pytest.mark.parametrize(
    ("coding", "body", "status", "message"),
    [
        ("gzip", gzip.compress(bytes(101), mtime=0), 413, "request body too large"),
        ("identity", bytes(101), 413, "request body too large"),
        ("gzip", b"{}", 415, "body is not what its content-encoding says"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-1], 415, "body is cut short or followed by other bytes"),
        ("gzip", b"", 415, "body is cut short or followed by other bytes"),
        ("x-secret", b"{}", 415, "unsupported content-encoding"),
    ],
)
def test_what_cannot_be_decoded_is_unreadable(coding: str, body: bytes, status: int, message: str) -> None:
    """A request that asks for the background must not slip through compressed."""
    with pytest.raises(Unreadable) as raised:
        payload(headers(("content-encoding", coding)), body, 100)
    assert (raised.value.status, str(raised.value)) == (status, message)


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/json", "application/json; charset=utf-8", 'application/json;charset="UTF-8"', "text/plain"),
        *("application/json; charset = utf8", "application/json; Charset=UTF-8; x=y", "", "charset=utf-16"),
    ],
)
def test_a_charset_may_be_utf8_or_unsaid(content_type: str) -> None:
    assert payload(headers(("content-type", content_type)), b"{}", 100) == b"{}"


@pytest.mark.parametrize(
    "content_types",
    [
        *(("application/json; charset=utf-16",), ("application/json;charset=",), ('a/b; charset="latin1"',)),
        *(("a/b; charset=utf-8; charset=utf-16",), ("application/json", "application/json; charset=utf-7")),
    ],
)
def test_any_other_charset_is_unreadable(content_types: tuple[str, ...]) -> None:
    """Also as a second one: another reader might take that."""
    with pytest.raises(Unreadable) as raised:
        payload(headers(*(("content-type", value) for value in content_types)), b"{}", 100)
    assert (raised.value.status, str(raised.value)) == (415, "the body's charset must be utf-8")


# The whole


def test_everything_is_found() -> None:
    assert asked(
        model="gpt-5",
        stream=True,
        background=False,
        input=[RESULT, {"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}],
        metadata={"user_id": "user_1"},
        tools=[],
    ) == Request(
        model="gpt-5", streaming=True, background=False, prompt=PROMPT, correlating_tool_call=None, user_id="user_1"
    )


def test_nothing_need_be_found() -> None:
    assert read(b" {} ", LIMIT) == NOTHING


@pytest.mark.parametrize("strange", [None, True, 0, 1.5, "", "x", [], [None], [[]], [{}], {}, {"a": {}}])
def test_a_surprising_schema_is_no_error(strange: object) -> None:
    """Wherever it stands. Only a string for an input is a prompt."""
    found = asked(input=strange, metadata=strange)
    assert (found.prompt, found.correlating_tool_call) == (strange if isinstance(strange, str) else None, None)
    for item in ({"role": strange}, {"role": "user", "content": [strange]}, {"type": strange, "call_id": strange}):
        assert asked(input=[item]) == NOTHING
    for part in ({"type": strange, "text": "x"}, {"type": "input_text", "text": strange}):
        texts = [text for text in [part["text"]] if part["type"] == "input_text" and isinstance(text, str)]
        assert asked(input=[{"role": "user", "content": [part]}]).prompt == (texts[0] if texts else None)


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"", 400, "the body is not a JSON object"),
        (b"[]", 400, "the body is not a JSON object"),
        (b'{"stream":NaN}', 400, "the body is not a JSON object"),
        (b'{"model":"\xff"}', 400, "the body is not UTF-8"),
        (b'{"input":[%s0]}' % (b"0," * 1_000_001), 413, "the body has too many values"),
        (b"{%s}" % b",".join(b'"%d":0' % at for at in range(10_001)), 413, "the body has too many values"),
        (b'{"input":"%s"}' % (rb"\ud800" * 20_001), 413, "the body has too many odd characters"),
    ],
    ids=range(7),
)
def test_what_is_no_request_is_unreadable(data: bytes, status: int, message: str) -> None:
    assert unreadable(data) == (status, message)


# Members that stand twice


@pytest.mark.parametrize("name", ["model", "stream", "input", "metadata", "background"])
def test_what_is_read_must_not_stand_twice(name: str) -> None:
    """In any spelling: another reader might take the other one."""
    escaped = f"\\u{ord(name[0]):04x}{name[1:]}"
    for other in (name, escaped):
        assert unreadable(f'{{"{name}":null,"x":1,"{other}":null}}'.encode()) == (400, f"the body has {name} twice")


@pytest.mark.parametrize("data", [b'{"background":true,"background":false}', b'{"background":0,"background":1}'])
def test_a_background_that_some_reader_may_see_is_one(data: bytes) -> None:
    """It is refused for what it is, even where something else stands twice too."""
    assert read(data, LIMIT).background
    assert read(b'{"model":1,"model":2,' + data[1:], LIMIT).background


def test_what_is_not_read_may_stand_twice() -> None:
    data = b'{"tools":1,"tools":2,"input":[{"role":"x","role":"user","content":"a","content":"b"}]}'
    assert read(data, LIMIT).prompt == "b"


# Model, stream, background

TRUE = ("true", "1", "-1", "0.5", "1e-9", "10", "1e999", '"1"', '"t"', '"T"', '"true"', '"TrUe"')
FALSE = ("false", "0", "-0", "0.00", "-0.0e7", "0E+9", '"0"', '"f"', '"F"', '"false"', '"FaLsE"', "null")
NEITHER = ('""', '"yes"', '" true"', '" false"', '"truetrue"', '"falsefalse"', "[]", "{}", "[true]")


@pytest.mark.parametrize(
    ("text", "streaming", "background"),
    [
        *((text, True, True) for text in TRUE),
        *((text, False, False) for text in FALSE),
        *((text, False, True) for text in NEITHER),
    ],
)
def test_a_stream_must_be_true_and_a_background_false(text: str, *, streaming: bool, background: bool) -> None:
    """In doubt it streams not, but is in the background, which is refused."""
    assert read(b'{"stream":%s}' % text.encode(), LIMIT).streaming is streaming
    assert read(b'{"background":%s}' % text.encode(), LIMIT).background is background


@pytest.mark.parametrize("query", ["stream=true", "a=b&stream=1", "stream=T&a", "stream=TRUE", "stream=%74rue"])
def test_a_target_may_ask_for_a_stream(query: str) -> None:
    assert asks_for_stream(f"/openai/v1/responses/resp_1?{query}")


@pytest.mark.parametrize(
    "target",
    [
        *("/", "/?", "/stream=true", "/?stream", "/?stream=", "/?stream=false", "/?stream=0", "/?Stream=true"),
        *("/?upstream=true", "/?a=stream=true", "/?stream=yes", "/?stream[]=true", "/?\udcff=%ff&&;=\0"),
    ],
)
def test_any_other_target_does_not(target: str) -> None:
    assert not asks_for_stream(target)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ('"gpt-5"', "gpt-5"),
        ('""', ""),
        ("null", ""),
        ("1.50", "1.50"),
        ("true", "true"),
        ('{ "a": 1 }', '{ "a": 1 }'),
        ('["x"]', '["x"]'),
        (r'"a\u0000b\ud800"', "a\ufffdb\ufffd"),
        (f'"{"x" * 2000}"', "x" * 1024),
        ('" gpt-5 "', " gpt-5 "),
        (f'"{" " * 2000}gpt-5{" " * 2000}"', "gpt-5"),
        (f'"{chr(0x3000) * 400}gpt-5"', "gpt-5"),
    ],
    ids=range(12),
)
def test_a_model_is_its_name_or_its_json_text(text: str, model: str) -> None:
    assert read(b'{"model":%s}' % text.encode(), LIMIT).model == model


# The prompt

DEVELOPER = {"role": "developer", "content": "be brief"}
SYSTEM = {"role": "system", "content": [{"type": "input_text", "text": "be kind"}]}
PARTS = [
    {"type": "input_text", "text": "what"},
    {"type": "input_image", "image_url": "data:"},
    {"type": "input_file", "text": "no"},
    {"type": "input_text", "text": 1},
    {"type": "input_text"},
    "no",
    {"type": "input_text", "text": ""},
    {"type": "input_text", "text": "is it?"},
]


@pytest.mark.parametrize(
    ("given", "prompt"),
    [
        (PROMPT, PROMPT),
        ("", ""),
        ([], None),
        ([USER], PROMPT),
        ([{"role": "user", "content": ""}], ""),
        ([{"role": "user", "content": PARTS}], "what\n\nis it?"),
        ([{"role": "user", "content": PARTS[1:3]}], None),
        ([{"role": "user", "content": []}], None),
        ([{"role": "user", "type": "whatever", "content": PROMPT}], PROMPT),
        ([USER, DEVELOPER, SYSTEM, DEVELOPER], PROMPT),
        ([USER, *[SYSTEM] * 999], PROMPT),
        ([USER, *[SYSTEM] * 1000], None),
        ([SYSTEM], None),
        ([USER, RESULT], None),
        ([USER, {"role": "assistant", "content": "it is"}], None),
        ([USER, RESULT, DEVELOPER], None),
    ],
    ids=range(16),
)
def test_a_prompt_is_the_users_last_word(given: object, prompt: str | None) -> None:
    """What a client adds behind it of its own accord is skipped."""
    assert asked(input=given).prompt == prompt


def test_a_long_prompt_is_cut() -> None:
    whole = asked(input="x" * 1001).prompt
    assert whole is not None
    assert whole.startswith("x" * 1000 + "\u2026 [cut at 1000 of 1001 bytes, sha256 ")
    assert asked(input="x" * 1000).prompt == "x" * 1000


def test_a_message_has_no_more_parts_than_anybody_would_write() -> None:
    part = {"type": "input_text", "text": "x"}
    assert asked(input=[{"role": "user", "content": [part] * 10_000}]).prompt is not None
    with pytest.raises(Unreadable) as raised:
        asked(input=[{"role": "user", "content": [part] * 10_001}])
    assert (raised.value.status, str(raised.value)) == (413, "the last message has too many parts")


# What else is recorded


@pytest.mark.parametrize(
    ("items", "call"),
    [
        ([RESULT], "call_1"),
        ([USER, RESULT], "call_1"),
        ([RESULT, USER], None),
        ([RESULT, DEVELOPER], None),
        ([{"type": "function_call_output", "call_id": ""}], None),
        ([{"type": "function_call_output", "call_id": 1}], None),
        ([{"type": "function_call_output"}], None),
        ([{"type": "custom_tool_call_output", "call_id": "call_1"}], None),
        ([{"type": "function_call_output", "call_id": "a\0"}], "a\ufffd"),
    ],
)
def test_a_request_that_brings_a_tools_result_names_its_call(items: list[object], call: str | None) -> None:
    assert asked(input=items).correlating_tool_call == call


@pytest.mark.parametrize(
    ("metadata", "user_id"),
    [
        ({"user_id": "user_1_session_2"}, "user_1_session_2"),
        ({"user_id": {"session_id": "2"}}, '{"session_id": "2"}'),
        ({"user_id": None}, "null"),
        ({}, None),
        ("user_id", None),
        (None, None),
    ],
)
def test_a_user_id_is_its_text_whatever_it_is(metadata: object, user_id: str | None) -> None:
    """Where it is JSON it can be so in a string or as it stands."""
    assert asked(metadata=metadata).user_id == user_id


# Whatever comes

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["user", "input_text", "function_call_output", "t", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
PART = st.fixed_dictionaries({}, optional={"type": st.sampled_from(["input_text", "x"]) | JSON, "text": TEXT | JSON})
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "function_call_output"]) | JSON,
        "role": st.sampled_from(["user", "system", "developer", "assistant"]) | JSON,
        "content": TEXT | st.lists(PART | JSON, max_size=4) | JSON,
        "call_id": TEXT | JSON,
    },
)
BODIES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "model": TEXT | JSON,
        "stream": JSON,
        "background": JSON,
        "input": TEXT | st.lists(ITEM | JSON, max_size=4) | JSON,
        "metadata": st.fixed_dictionaries({}, optional={"user_id": TEXT | JSON}) | JSON,
    },
)


def prompt(given: object) -> str | None:
    if not isinstance(given, list):
        return given if isinstance(given, str) else None
    items = [item if isinstance(item, dict) else {} for item in given]
    while items and items[-1].get("role") in ("system", "developer"):
        items.pop()
    content = items[-1].get("content") if items and items[-1].get("role") == "user" else None
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    parts = [part for part in content if isinstance(part, dict) and part.get("type") == "input_text"]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "\n".join(texts) if texts else None


def correlating(given: object) -> str | None:
    last = given[-1] if isinstance(given, list) and given else None
    call = last.get("call_id") if isinstance(last, dict) and last.get("type") == "function_call_output" else None
    return call if isinstance(call, str) and call else None


def text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def expected(body: dict[str, Any]) -> Request:
    """The rules, over what the standard library reads."""
    stream, metadata = body.get("stream"), body.get("metadata")
    return Request(
        model="" if body.get("model") is None else text(body["model"]),
        streaming=stream == "t" or (isinstance(stream, int) and stream != 0),
        background=body.get("background") not in (None, False, 0),
        prompt=prompt(body.get("input")),
        correlating_tool_call=correlating(body.get("input")),
        user_id=text(metadata["user_id"]) if isinstance(metadata, dict) and "user_id" in metadata else None,
    )


@given(body=BODIES, indent=st.none() | st.just(2))
def test_what_is_found_follows_from_what_the_standard_library_reads(body: dict[str, Any], indent: int | None) -> None:
    """Of values that stay JSON text as they stood."""
    assume(indent is None or not any(isinstance(body.get(name), list | dict) for name in ("model", "metadata")))
    assert read(json.dumps(body, indent=indent).encode(), 10**6) == expected(body)


@given(body=BODIES, breaks=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=3)), max_size=3))
def test_whatever_it_is_it_is_read_or_unreadable(body: dict[str, Any], breaks: list[tuple[int, bytes]]) -> None:
    data = json.dumps(body).encode()
    for place, splinter in breaks:
        at = place % (len(data) + 1)
        data = data[:at] + splinter + data[at:]
    try:
        read(data, LIMIT)
    except Unreadable as error:
        assert error.status in (400, 413)  # noqa: PT017 - reading it is as good


# What is asked beside content


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"reasoning": {"effort": "high"}}, Parameters(reasoning_level="high")),
        ({"previous_response_id": "resp_0"}, Parameters(previous_response="resp_0")),
        ({"conversation": "conv_1"}, Parameters(conversation="conv_1")),
        ({"conversation": {"id": "conv_1"}}, Parameters(conversation="conv_1")),
        ({"service_tier": "flex"}, Parameters(service_tier="flex")),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, Parameters(output_type="json_schema")),
        ({"max_output_tokens": 100}, Parameters(max_tokens=100)),
        ({"temperature": 0.5, "top_p": 1}, Parameters(temperature=0.5, top_p=1.0)),
    ],
)
def test_parameters_are_read(members: dict[str, object], found: Parameters) -> None:
    assert asked(**members).parameters == found


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"reasoning": "high", "text": "json", "conversation": 7, "service_tier": None},
        {"reasoning": {"effort": 3}, "text": {"format": "json"}, "conversation": {"id": ""}},
        {"max_output_tokens": "many", "temperature": "hot", "top_p": None},
        {"temperature": 10**400, "top_p": [1], "max_output_tokens": -1},
    ],
)
def test_odd_parameters_are_none(members: dict[str, object]) -> None:
    assert asked(**members).parameters == Parameters()


def test_a_parameter_is_cut_like_every_id() -> None:
    assert asked(service_tier="x" * 2000).parameters == Parameters(service_tier="x" * 1024)
