"""The example provider against the official client: what the other tests rest on must be like the real thing."""

import asyncio
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import FunctionToolParam, Response

from examples.answers import Answer, Seen, cut, json_answer, pieces
from examples.model import TEXT, THOUGHT
from examples.provider import Provider, ThreadedProvider
from tests.transcripts import Transcript, plays

WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": None,
    "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}
# Those that an SDK reads to their end without an exception.
UNDERSTOOD = [
    (transcript, streaming)
    for transcript, streaming in plays()
    if not transcript.odd
    and transcript.status == 200
    and transcript.path == "responses"
    and not re.match("cut_|stream_error_|error_then_", transcript.name)
]


@pytest.fixture(scope="module")
def provider() -> Iterator[ThreadedProvider]:
    with ThreadedProvider(Provider(keys=frozenset({"sk-good"}), pace=0)) as running:
        yield running


@pytest.fixture
def client(provider: ThreadedProvider) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{provider.url}/v1", api_key="sk-good", max_retries=0) as client:
        yield client


async def exchange(url: str, *requests: bytes) -> bytes:
    """Everything that comes back on one connection, until it is closed."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"".join(requests))
    answer = await reader.read()
    writer.close()
    return answer


def request(case: str, *headers: str, body: bytes = b"") -> bytes:
    lines = ("POST /v1/responses HTTP/1.1", "host: example", f"x-case: {case}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


def test_a_question_is_answered_with_a_thought_a_text_and_a_count(client: OpenAI) -> None:
    response = client.responses.create(model="example-small", input="What is this?")
    assert Response.model_validate(response.model_dump()) == response
    assert response.model == "example-small"
    assert response.output_text == TEXT
    assert response.output[0].type == "reasoning"
    assert [part.text for part in response.output[0].summary] == [THOUGHT]
    assert response.usage
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_a_stream_tells_the_same_in_pieces(client: OpenAI) -> None:
    with client.responses.stream(model="example-small", input="What is this?") as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert len(texts) > 1
        assert "".join(texts) == TEXT == stream.get_final_response().output_text


async def test_the_asynchronous_client_is_answered_too(provider: ThreadedProvider) -> None:
    async with AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="sk-good", max_retries=0) as client:
        assert (await client.responses.create(model="m", input="?")).output_text == TEXT
        seen = [event.type async for event in await client.responses.create(model="m", input="?", stream=True)]
        assert (seen[0], seen[-1]) == ("response.created", "response.completed")


def test_a_tool_is_called_with_arguments_of_its_schema(client: OpenAI) -> None:
    [call] = client.responses.create(model="m", input="Rain?", tools=[WEATHER]).output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "example", "days": 7})


def test_a_tool_is_called_in_a_stream_too(client: OpenAI) -> None:
    with client.responses.stream(model="m", input="Rain?", tools=[WEATHER]) as stream:
        [call] = stream.get_final_response().output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "example", "days": 7})


def test_a_custom_tool_is_called_with_a_text(client: OpenAI) -> None:
    [call] = client.responses.create(model="m", input="Go.", tools=[{"type": "custom", "name": "edit"}]).output
    assert call.type == "custom_tool_call"
    assert (call.name, call.input) == ("edit", "example")


def test_a_tools_result_is_answered_with_a_text(client: OpenAI) -> None:
    """An agent that follows every call would never come to an end otherwise."""
    result = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
    response = client.responses.create(model="m", input=[result], tools=[WEATHER])  # type: ignore[list-item]
    assert response.output_text == TEXT


def test_models_are_listed_and_described(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["example-large", "example-small"]
    assert client.models.retrieve("example-small").owned_by == "example"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("example-none")


@pytest.mark.parametrize(("key", "hint"), [("sk-somebody-else", "sk-s***else"), ("", "No API key")])
def test_a_key_that_it_does_not_like_is_refused(client: OpenAI, key: str, hint: str) -> None:
    headers = {"Authorization": f"Bearer {key}".strip()}
    with pytest.raises(openai.AuthenticationError, match=hint.replace("*", r"\*")) as refusal:
        client.responses.create(model="m", input="?", extra_headers=headers)
    assert (refusal.value.code, refusal.value.type) == ("invalid_api_key", "invalid_request_error")
    assert (refusal.value.request_id or "").startswith("req_")


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
def test_what_is_not_a_json_object_is_a_bad_request(client: OpenAI, body: bytes) -> None:
    with pytest.raises(openai.BadRequestError):
        client.post("/responses", content=body, cast_to=object)


@pytest.mark.parametrize(
    ("transcript", "streaming"),
    UNDERSTOOD,
    ids=[f"{transcript.name}-{'streamed' if streaming else 'whole'}" for transcript, streaming in UNDERSTOOD],
)
def test_the_client_understands_the_transcripts(transcript: Transcript, *, streaming: bool) -> None:
    """What our tests play is what an SDK's user would have seen."""

    def script(_: Seen) -> Answer:
        return Answer(content_type=transcript.content_type(streaming), body=transcript.answer(streaming))

    asked = json.loads(transcript.request(streaming))
    total = (transcript.expected(streaming)["tokens"] or {"extra": {"total_tokens": None}})["extra"]["total_tokens"]
    with ThreadedProvider(Provider(script)) as provider, OpenAI(base_url=f"{provider.url}/v1", api_key="k") as client:
        answer = client.responses.create(**asked)
        for event in answer if streaming else ():
            if event.type in {"response.completed", "response.incomplete", "response.failed"}:
                answer = event.response
                break
        assert (answer.usage and answer.usage.total_tokens) == total
        [seen] = provider.seen[""]
        assert (seen.method, seen.target) == ("POST", "/v1/responses")
        assert json.loads(seen.body) == asked


def test_a_case_is_chosen_by_header_and_what_was_sent_is_kept() -> None:
    answers = {"teapot": json_answer({"short": "and stout"}, 418, (("x-pot", "1"), ("x-pot", "2")))}
    with ThreadedProvider(Provider(answers)) as provider, OpenAI(base_url=f"{provider.url}/v1", api_key="k") as client:
        with pytest.raises(openai.APIStatusError) as short:
            client.post("/tea?milk=0", cast_to=object, body={"a": 1}, options={"headers": {"X-Case": "teapot"}})
        assert short.value.status_code == 418
        assert short.value.response.headers.get_list("x-pot") == ["1", "2"]
        with pytest.raises(openai.InternalServerError, match="Nobody scripted this case"):
            client.post("/tea", cast_to=object, options={"headers": {"X-Case": "coffee"}, "max_retries": 0})
        assert client.responses.create(model="m", input="?").output_text == TEXT
        seen = provider.arrival("teapot")
        assert (seen.method, seen.target, seen.path) == ("POST", "/v1/tea?milk=0", "/v1/tea")
        assert (json.loads(seen.body), seen.complete) == ({"a": 1}, True)
        assert seen.all("authorization") == ["Bearer k"]
        assert provider.seen["never"] == []
        assert "Bearer" not in repr(seen)


async def test_bodies_go_both_ways_with_a_length_or_in_chunks() -> None:
    """One connection carries them all, one after the other."""
    big = bytes(range(256)) * 4096
    answers = {
        "sized": Answer(body=big),
        "chunked": Answer(body=(b"one", b"two"), trailers=(("x-sum", "2"),), headers=(("connection", "close"),)),
    }
    async with Provider(answers) as provider:
        chunks = b"%x;name=value\r\n%s\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(big), big)
        received = await exchange(
            provider.url,
            request("sized", f"content-length: {len(big)}", "expect: 100-continue", body=big),
            request("chunked", "Transfer-Encoding: chunked", body=chunks),
        )
        assert [seen.body == big for case in ("sized", "chunked") for seen in provider.seen[case]] == [True, True]
    continued, first, rest = received.partition(b"HTTP/1.1 200 OK\r\n")
    assert continued == b"HTTP/1.1 100 Continue\r\n\r\n"
    sized, second, chunked = rest.partition(first)
    assert sized == b"content-type: application/json\r\ncontent-length: 1048576\r\n\r\n" + big
    assert second + chunked == (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"3\r\none\r\n3\r\ntwo\r\n0\r\nx-sum: 2\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("position", "received"),
    [
        (-1, b""),
        (0, b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"),
        (1, b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n"),
        (2, b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n"),
    ],
)
async def test_it_dies_where_it_should(position: int, received: bytes) -> None:
    answers = {"x": Answer(content_type="text/plain", body=(b"ab", b"c"), die=position)}
    async with Provider(answers) as provider:
        assert await exchange(provider.url, request("x")) == received


async def test_it_holds_where_it_should_until_it_is_released() -> None:
    answers = {"x": Answer(content_type="", body=(b"ab", b"c"), hold=1, pace=0.001, hang=0.001)}
    async with Provider(answers) as provider:
        host, port = provider.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request("x"))
        before = await reader.readuntil(b"ab\r\n")
        assert before == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n"
        provider.release("x")
        assert await reader.readuntil(b"0\r\n\r\n") == b"1\r\nc\r\n0\r\n\r\n"
        writer.close()


async def test_a_client_that_leaves_is_noticed_at_once() -> None:
    """Though nothing is being read or written."""
    async with Provider({"x": Answer(hold=-1)}) as provider:
        host, port = provider.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(request("x"))
        assert (await provider.arrival("x")).complete
        writer.close()
        await provider.departure("x")


async def test_an_upload_that_breaks_off_is_kept_as_far_as_it_came() -> None:
    async with Provider() as provider:
        host, port = provider.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(request("x", "content-length: 10", body=b"four"))
        writer.close()
        seen = await provider.arrival("x")
        assert (seen.body, seen.complete) == (b"four", False)


async def test_a_frame_of_ones_own_goes_as_it_stands() -> None:
    """A length that lies, an encoding, a status nobody knows: tests need them all."""
    body = gzip.compress(b"{}", mtime=0)
    headers = (("content-encoding", "gzip"), ("Content-Length", "999"))
    async with Provider(lambda _: Answer(status=299, headers=headers, body=(body,), die=1)) as provider:
        received = await exchange(provider.url, request(""))
    assert received == (
        b"HTTP/1.1 299 \r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\nContent-Length: 999\r\n\r\n"
        + body
    )


async def test_what_is_not_http_is_hung_up_on() -> None:
    async with Provider() as provider:
        assert await exchange(provider.url, b"hello\r\n\r\n") == b""
        assert provider.seen == {}


@given(st.binary(), st.lists(st.integers(-5, 200)), st.integers(1, 50))
def test_cutting_loses_nothing(data: bytes, places: list[int], size: int) -> None:
    for parts in (cut(data, places), pieces(data, size)):
        assert b"".join(parts) == data
        assert b"" not in parts or data == b""


def test_the_command_prints_where_it_listens() -> None:
    command = [sys.executable, "-m", "examples.provider", "--port", "0", "--key", "sk-one", "--pace", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            with OpenAI(base_url=f"{url}/v1", api_key="sk-one") as client:
                assert client.responses.create(model="m", input="?").output_text == TEXT
            with OpenAI(base_url=f"{url}/v1", api_key="sk-two") as client, pytest.raises(openai.AuthenticationError):
                client.models.list()
        finally:
            process.terminate()
