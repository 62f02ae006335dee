"""The official client, which must not notice that anything is between it and the provider."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import FunctionToolParam, ResponseCompletedEvent, ResponseFunctionToolCall

from examples.answers import Answer, error_answer, json_answer, stream_answer
from examples.events import USUAL, events
from examples.provider import ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, Bridge
from tests.e2e.scripts import Script

KEY = "sk-client-canary-99887766554433"
MODEL = "example-small"
SUM: FunctionToolParam = {
    "type": "function",
    "name": "sum",
    "strict": True,
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}
BIG = 12 * 1024 * 1024
ERRORS = {
    400: (openai.BadRequestError, "bad_request"),
    401: (openai.AuthenticationError, "unauthorized"),
    403: (openai.PermissionDeniedError, "unauthorized"),
    404: (openai.NotFoundError, "bad_request"),
    409: (openai.ConflictError, "unknown"),
    422: (openai.UnprocessableEntityError, "bad_request"),
    429: (openai.RateLimitError, "rate_limited"),
    500: (openai.InternalServerError, "server_error"),
    503: (openai.InternalServerError, "overloaded"),
}
BACKGROUND = {"code": "501", "message": "background requests are currently not supported by AI Bridge"}


def options(bridge: Bridge, case: str, provider: str = "openai") -> dict[str, object]:
    """What Codex, with this SDK, would say of itself."""
    sent = {"x-forwarded-user": "ada", "x-case": case, "session_id": case, "user-agent": "codex_cli_rs/0.99"}
    return {"base_url": f"{bridge.url}/{provider}/v1", "api_key": KEY, "default_headers": sent}


@pytest.fixture
def client(shared: Bridge, script: Script, case: str) -> Iterator[OpenAI]:
    script[case] = None
    with OpenAI(**options(shared, case)) as client:
        yield client


@pytest.fixture
async def aclient(shared: Bridge, script: Script, case: str) -> AsyncIterator[AsyncOpenAI]:
    script[case] = None
    async with AsyncOpenAI(**options(shared, case)) as client:
        yield client


def test_an_answer_is_typed_and_recorded_under_its_id(client: OpenAI, shared: Bridge, case: str) -> None:
    response = client.responses.create(model=MODEL, input="Who carries the bytes?")
    recorded = shared.session(case)
    assert response.usage is not None
    assert recorded.asked == [(response.id, "Who carries the bytes?")]
    (tokens,) = recorded.tokens
    cached = response.usage.input_tokens_details.cached_tokens
    assert tokens["input_tokens"] == response.usage.input_tokens - cached
    assert tokens["output_tokens"] == response.usage.output_tokens
    assert [thought["content"] for thought in recorded.thoughts] == [response.output[0].summary[0].text]
    assert recorded.ended == ("completed", None, 200)


async def test_the_asynchronous_client_gets_the_same(aclient: AsyncOpenAI, shared: Bridge, case: str) -> None:
    response = await aclient.responses.create(model=MODEL, input="And you?")
    assert shared.session(case).asked == [(response.id, "And you?")]


def test_a_stream_s_events_are_typed_and_its_record_is_there_at_the_last(
    client: OpenAI, shared: Bridge, case: str
) -> None:
    seen = []
    for event in client.responses.create(model=MODEL, input="Tell me.", stream=True):
        seen.append(event.type)
        if isinstance(event, ResponseCompletedEvent):
            recorded = shared.session(case)  # while the stream is still open
    assert (seen[0], seen[-1]) == ("response.created", "response.completed")
    assert recorded.asked == [(event.response.id, "Tell me.")]
    assert recorded.interception["streaming"] == 1


async def test_an_asynchronous_stream_helper_gets_the_final_response(
    aclient: AsyncOpenAI, shared: Bridge, case: str
) -> None:
    async with aclient.responses.stream(model=MODEL, input="Tell me.") as stream:
        final = await stream.get_final_response()
    assert shared.session(case).asked == [(final.id, "Tell me.")]


def test_a_tool_call_and_its_result_are_recorded_as_two_that_belong_together(
    client: OpenAI, shared: Bridge, case: str
) -> None:
    first = client.responses.create(model=MODEL, input="Add.", tools=[SUM])
    (call,) = first.output
    assert isinstance(call, ResponseFunctionToolCall)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "7"}
    second = client.responses.create(model=MODEL, input=[result], tools=[SUM], previous_response_id=first.id)
    calling, answering = shared.sessions(case)
    (tool,) = calling.tools
    assert (tool["tool"], tool["tool_call_id"], tool["input"]) == ("sum", call.call_id, '{"a": 7}')
    assert answering.interception["correlating_tool_call_id"] == call.call_id
    assert answering.asked == []
    assert [row["msg_id"] for row in answering.tokens] == [second.id]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("status", ERRORS)
def test_an_error_is_raised_as_its_type_with_the_provider_s_own_words(  # noqa: PLR0913, PLR0917 - fixtures
    client: OpenAI,
    shared: Bridge,
    script: Script,
    provider: ThreadedProvider,
    case: str,
    status: int,
    streaming: bool,  # noqa: FBT001 - the SDK's parameter
) -> None:
    kind, recorded_type = ERRORS[status]
    script[case] = error_answer(status, "Not in these words.", "some_type", "some_code", (("x-request-id", "req_1"),))
    with pytest.raises(kind) as raised:
        client.with_options(max_retries=0).responses.create(model=MODEL, input="Hm.", stream=streaming)
    assert raised.value.body == {
        "message": "Not in these words.",
        "type": "some_type",
        "param": None,
        "code": "some_code",
    }
    assert raised.value.request_id == "req_1"
    assert len(provider.seen[case]) == 1
    recorded = shared.session(case)
    assert recorded.ended == ("failed", recorded_type, status)
    assert recorded.interception["provider_request_id"] == "req_1"


@pytest.mark.parametrize("streaming", [False, True])
def test_background_is_refused_and_asked_for_once(
    client: OpenAI,
    shared: Bridge,
    provider: ThreadedProvider,
    case: str,
    streaming: bool,  # noqa: FBT001 - the SDK's parameter
) -> None:
    """The SDK would try a 501 three times, were it not told that this cannot help."""
    with pytest.raises(openai.InternalServerError) as raised:
        client.responses.create(model=MODEL, input="Later.", background=True, stream=streaming)
    assert (raised.value.status_code, raised.value.response.json()) == (501, BACKGROUND)
    assert case not in provider.seen
    assert shared.session(case).ended == ("failed", "rejected", 501)
    assert shared.session(case).asked == []


async def test_background_is_refused_to_the_asynchronous_client_too(
    aclient: AsyncOpenAI, shared: Bridge, provider: ThreadedProvider, case: str
) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        await aclient.responses.create(model=MODEL, input="Later.", background=True)
    assert raised.value.response.json() == BACKGROUND
    assert case not in provider.seen
    assert shared.session(case).ended == ("failed", "rejected", 501)


def test_who_is_nobody_is_refused_once(client: OpenAI, shared: Bridge, provider: ThreadedProvider, case: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model=MODEL, input="Hi.", extra_headers={"x-forwarded-user": ""})
    assert raised.value.response.json() == {"code": "400", "message": "no actor found"}
    assert case not in provider.seen
    assert shared.sessions(case) == []


def test_a_client_s_own_key_goes_to_the_provider_and_leaves_a_hint(
    client: OpenAI, shared: Bridge, provider: ThreadedProvider, case: str
) -> None:
    client.responses.create(model=MODEL, input="Mine.")
    (seen,) = provider.seen[case]
    assert seen.all("authorization") == [f"Bearer {KEY}"]
    interception = shared.session(case).interception
    assert (interception["credential_kind"], interception["credential_hint"]) == ("byok", "sk-c...4433")


def test_where_clients_bring_no_keys_the_central_one_is_used(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """A stock SDK always sends some bearer."""
    script[case] = None
    with OpenAI(**options(shared, case, "central")) as client:
        client.responses.create(model=MODEL, input="Yours.")
    (seen,) = provider.seen[case]
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    interception = shared.session(case).interception
    assert (interception["credential_kind"], interception["credential_hint"]) == ("centralized", "sk-c...6071")
    assert interception["provider_name"] == "central"


def test_a_stock_client_is_recorded_as_what_it_says(shared: Bridge, script: Script, case: str) -> None:
    script[case] = None
    sent = {"x-forwarded-user": "ada", "x-case": case}
    with OpenAI(base_url=f"{shared.url}/openai/v1", api_key=KEY, default_headers=sent) as client:
        response = client.responses.create(model=MODEL, input="Who am I?")
    (row,) = shared.rows(
        "SELECT client, user_agent, client_session_id FROM interceptions JOIN user_prompts "
        "ON interception_id = interceptions.id WHERE msg_id = ?",
        response.id,
    )
    agent = f"OpenAI/Python {version('openai')}"
    assert row == {"client": "Unknown", "user_agent": agent, "client_session_id": None}


def test_models_pass_unrecorded(client: OpenAI, shared: Bridge, provider: ThreadedProvider, case: str) -> None:
    assert [model.id for model in client.models.list()] == ["example-large", "example-small"]
    assert client.models.retrieve(MODEL).id == MODEL
    assert [seen.target for seen in provider.seen[case]] == ["/v1/models", f"/v1/models/{MODEL}"]
    assert shared.sessions(case) == []


def test_stored_responses_are_read_cancelled_and_deleted_unrecorded(
    client: OpenAI, shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    stored = {**USUAL, "id": "resp_stored", "model": MODEL, "output": []}
    items = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    counted = {"object": "response.input_tokens", "input_tokens": 3}
    script[case] = [
        json_answer(stored),
        json_answer(stored),
        json_answer(items),
        json_answer(counted),
        json_answer({"id": "resp_stored", "object": "response", "deleted": True}),
    ]
    assert client.responses.retrieve("resp_stored").id == "resp_stored"
    assert client.responses.cancel("resp_stored").id == "resp_stored"
    assert client.responses.input_items.list("resp_stored", limit=2).data == []
    assert client.responses.input_tokens.count(model=MODEL, input="One two three").input_tokens == 3
    client.responses.delete("resp_stored")
    assert [(seen.method, seen.target) for seen in provider.seen[case]] == [
        ("GET", "/v1/responses/resp_stored"),
        ("POST", "/v1/responses/resp_stored/cancel"),
        ("GET", "/v1/responses/resp_stored/input_items?limit=2"),
        ("POST", "/v1/responses/input_tokens"),
        ("DELETE", "/v1/responses/resp_stored"),
    ]
    assert shared.sessions(case) == []


def test_a_stored_response_that_is_streamed_again_passes_unrecorded(
    client: OpenAI, shared: Bridge, script: Script, case: str
) -> None:
    stored = {**USUAL, "id": "resp_stored", "model": MODEL, "output": []}
    script[case] = stream_answer(events(stored))
    types = [event.type for event in client.responses.retrieve("resp_stored", stream=True)]
    assert types == ["response.created", "response.in_progress", "response.completed"]
    assert shared.sessions(case) == []


def test_twelve_mebibytes_pass_both_ways(
    client: OpenAI, shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """The prompt is kept in part; how much there was, and what it was, can be proved."""
    said = "a sentence of text, " * (BIG // 20)
    part = {"type": "output_text", "text": said, "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 9, "output_tokens": 8, "total_tokens": 17}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    script[case] = json_answer(
        {**USUAL, "id": "resp_big", "model": MODEL, "output": [message], "usage": usage | details}
    )
    response = client.responses.create(model=MODEL, input=said)
    recorded = shared.session(case)
    assert response.output_text == said
    (seen,) = provider.seen[case]
    assert json.loads(seen.body)["input"] == said
    assert [(row["input_tokens"], row["output_tokens"]) for row in recorded.tokens] == [(9, 8)]
    ((msg_id, kept),) = recorded.asked
    digest = hashlib.sha256(said.encode()).hexdigest()
    assert msg_id == "resp_big"
    assert kept == f"{said[: 1 << 20]}… [cut at {1 << 20} of {len(said)} bytes, sha256 {digest}]"


def test_twelve_mebibytes_of_events_pass_and_are_read_to_their_end(
    client: OpenAI, shared: Bridge, script: Script, case: str
) -> None:
    said = "a few words of text " * (BIG // 20)
    part = {"type": "output_text", "text": said, "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    final = {**USUAL, "id": "resp_long", "model": MODEL, "output": [{**message, "content": []}], "usage": None}
    stream = [
        *({"type": "response.output_text.delta", "delta": said[at : at + 4096]} for at in range(0, len(said), 4096)),
        {"type": "response.completed", "response": final},
    ]
    script[case] = stream_answer(stream)
    got = "".join(
        getattr(event, "delta", "") for event in client.responses.create(model=MODEL, input="Go.", stream=True)
    )
    assert got == said
    assert shared.session(case).asked == [("resp_long", "Go.")]
    assert shared.session(case).ended == ("completed", None, 200)


def test_a_provider_that_cannot_be_reached_is_the_server_s_error(shared: Bridge, case: str) -> None:
    with (
        OpenAI(**options(shared, case, "gone"), max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as raised,
    ):
        client.responses.create(model=MODEL, input="Anybody?")
    body = {"code": "503", "message": "the provider could not be reached, or hung up before it answered"}
    assert (raised.value.status_code, raised.value.response.json()) == (503, body)
    recorded = shared.session(case)
    assert recorded.ended == ("failed", "disconnected", 503)
    assert recorded.asked == [("", "Anybody?")]


def test_an_answer_that_is_no_json_reaches_the_client_as_it_is(
    client: OpenAI, shared: Bridge, script: Script, case: str
) -> None:
    script[case] = Answer(status=502, content_type="text/html", body=b"<html>Bad gateway</html>")
    with pytest.raises(openai.InternalServerError) as raised:
        client.with_options(max_retries=0).responses.create(model=MODEL, input="Hm.")
    assert raised.value.response.text == "<html>Bad gateway</html>"
    assert shared.session(case).ended == ("failed", "server_error", 502)
