import gzip
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from pydantic import SecretStr

from sidecar.core.errors import OutOfOrder
from sidecar.core.events import Body, Event, Headers, Recorded, Side, Trailers
from sidecar.core.interception import ANY, Interception
from sidecar.core.permissions import Permission
from sidecar.core.phases import Phase
from sidecar.core.policy import Bounds, Policy, Provider, Source
from sidecar.core.records import (
    Answered,
    CredentialKind,
    Ended,
    ErrorType,
    Failure,
    Forwarded,
    Passed,
    Prompt,
    Record,
    Started,
    Thought,
    Tokens,
    Tool,
)
from sidecar.core.refusals import BACKGROUND, DENIED, INTERNAL, NOT_FOUND, NOT_RECORDED, OVERLOADED, TOO_LARGE, refusal
from sidecar.core.replies import Ack, Echo, Forward, Observe, Part, Reply, Step, Wait
from sidecar.core.requests import Request, TooLarge

ID = "01a0c450-6c00-7000-8000-000000000000"
KEY = SecretStr("sk-central-0123456789")
OPENAI = Provider(name="openai", type="openai", base_url="https://api.openai.com/v1", api_key=KEY)
POLICY = Policy(providers={"openai": OPENAI}, bounds=Bounds(request_bytes=200_000))
BOTH = frozenset(Side)
PAIRS = (
    (":method", "POST"),
    (":path", "/openai/v1/responses?x=1"),
    ("x-forwarded-user", "alice"),
    ("x-request-id", "envoy-1"),
    ("user-agent", "codex_cli_rs/0.50"),
    ("session_id", "s-1"),
)
ASKED = b'{"model":"gpt-5","input":"hi","stream":true}'
ANSWER = (
    b'{"id":"resp_1","status":"completed","model":"gpt-5-1","service_tier":"default",'
    b'"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":2,"total_tokens":12},'
    b'"output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},'
    b'{"type":"function_call","id":"fc_1","call_id":"call_1","name":"look","arguments":"{\\"at\\":1}"}]}'
)
COMPLETED = b'data: {"type":"response.completed","response":' + ANSWER + b"}\n\n"
CREATED = b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n'


def request(*more: tuple[str, str], end: bool = False) -> Headers:
    return Headers(side=Side.REQUEST, at=1.0, pairs=(*PAIRS, *more), end=end)


def asked(data: bytes = ASKED, *, end: bool = True) -> Body:
    return Body(side=Side.REQUEST, at=2.0, data=data, end=end)


def response(*more: tuple[str, str], status: str = "200", end: bool = False, details: str = "via_upstream") -> Headers:
    return Headers(
        side=Side.RESPONSE,
        at=4.0,
        pairs=((":status", status), ("x-request-id", "req_1"), *more),
        end=end,
        attributes={"response.code_details": details},
    )


def answered(data: bytes, *, end: bool = False) -> Body:
    return Body(side=Side.RESPONSE, at=5.0, data=data, end=end)


RECORDED = Recorded(at=3.0, durable=True)
BEGUN = (request(), asked(), RECORDED)
TIMED = ("x-envoy-upstream-rq-timeout-ms", "600000")
EVENT_STREAM = ("content-type", "text/event-stream")

STARTED = Started(
    interception=ID,
    at=1.0,
    initiator="alice",
    actor_metadata={},
    provider="openai",
    provider_name="openai",
    model="gpt-5",
    streaming=True,
    client="Codex",
    client_session="s-1",
    user_agent="codex_cli_rs/0.50",
    correlating_tool_call=None,
    credential_kind=CredentialKind.CENTRALIZED,
    credential_hint="sk-c...6789",
    request_path="/openai/v1/responses",
    request_id="envoy-1",
    prompt="hi",
    read_at=2.0,
)
FORWARD = Forward(
    part=Part.BODY,
    set=(("accept-encoding", "identity"), ("authorization", SecretStr("Bearer sk-central-0123456789"))),
    remove=("x-forwarded-user",),
    notes={"actor": "alice", "interception": ID},
)
FORWARDED = Forwarded(interception=ID, at=3.0)
PROMPT = Prompt(interception=ID, at=5.0, msg_id="resp_1", text="hi")
COST = Tokens(
    interception=ID,
    at=5.0,
    msg_id="resp_1",
    input=6,
    output=2,
    cache_read=4,
    cache_write=0,
    extra={"input_cached": 4, "output_reasoning": 0, "total_tokens": 12},
    provider_model="gpt-5-1",
    service_tier="default",
)
THOUGHT = Thought(interception=ID, at=5.0, msg_id="resp_1", source="reasoning_summary", text="hm")
TOOL = Tool(
    interception=ID,
    at=5.0,
    msg_id="resp_1",
    item_id="fc_1",
    tool_call_id="call_1",
    kind="function_call",
    name="look",
    input='{"at":1}',
)
RESPONSE_AT = 4.0
ANSWERED = Answered(response="resp_1", model="gpt-5-1", service_tier="default", status="completed", first_at=5.0)
ENDED = Ended(interception=ID, at=5.0, failure=None, http_status=200, provider_request_id="req_1", answered=ANSWERED)
ALL_OF_IT = (PROMPT, COST, THOUGHT, TOOL, ENDED)


def opened(*events: Event, policy: Policy = POLICY, duplex: frozenset[Side] = frozenset()) -> Interception:
    """An interception to which all this has happened."""
    interception = Interception(id=ID, policy=policy, duplex=duplex)
    for event in events:
        interception.receive(event)
    return interception


def play(*events: Event, policy: Policy = POLICY, duplex: frozenset[Side] = frozenset()) -> list[Step]:
    interception = opened(policy=policy, duplex=duplex)
    return [interception.receive(event) for event in events]


def records(steps: list[Step]) -> tuple[Record, ...]:
    return tuple(record for step in steps for record in step.records)


def replies(steps: list[Step]) -> tuple[Reply, ...]:
    return tuple(reply for step in steps for reply in step.replies)


def seen(side: Side, part: Part = Part.BODY) -> Step:
    return Step(replies=(Ack(side=side, part=part),))


def failed(
    kind: ErrorType,
    message: str,
    *,
    at: float = 5.0,
    status: int | None = 200,
    response: str = "",
) -> Ended:
    """`at` of an end before any body came is 4.0."""
    answered = Answered(response=response, first_at=5.0 if at > RESPONSE_AT else None)
    failure = Failure(type=kind, message=message)
    return structs.replace(ENDED, at=at, failure=failure, http_status=status, answered=answered)


# The request


def test_a_request_is_recorded_before_its_verdict() -> None:
    """Nothing reaches a provider that the journal does not hold."""
    assert play(*BEGUN) == [
        seen(Side.REQUEST, Part.HEADERS),
        Step(records=(STARTED,), wait=Wait.START),
        Step(replies=(FORWARD,), records=(FORWARDED,)),
    ]


def test_a_request_that_does_not_stream_has_a_time_out() -> None:
    [_, _, verdict] = play(request(), asked(b'{"model":"gpt-5"}'), RECORDED)
    [forward] = verdict.replies
    assert isinstance(forward, Forward)
    assert forward.set[0] == TIMED


def test_without_a_start_on_the_disk_it_is_refused_and_ended() -> None:
    """A start that commits late is not left open."""
    notes = {"actor": "alice", "interception": ID}
    assert play(request(), asked(), Recorded(at=3.0, durable=False))[-1] == Step(
        replies=(structs.replace(NOT_RECORDED, notes=notes),),
        records=(
            Ended(
                interception=ID,
                at=3.0,
                failure=Failure(type=ErrorType.REJECTED, message="the start was not recorded in time"),
                http_status=500,
                provider_request_id=None,
            ),
        ),
    )


def test_a_background_request_is_recorded_refused_and_ended() -> None:
    """Its answer would come without anybody to see it."""
    notes = {"actor": "alice", "interception": ID}
    [_, start, verdict] = play(request(), asked(b'{"background":true}'), RECORDED)
    assert start.wait is Wait.START
    assert verdict == Step(
        replies=(structs.replace(BACKGROUND, notes=notes),),
        records=(
            Ended(
                interception=ID,
                at=3.0,
                failure=Failure(type=ErrorType.REJECTED, message="background requests are not supported"),
                http_status=501,
                provider_request_id=None,
            ),
        ),
        wait=Wait.END,
    )


def test_what_the_headers_give_away_is_refused_at_once() -> None:
    nowhere = Headers(side=Side.REQUEST, at=1.0, pairs=((":method", "POST"), (":path", "/")))
    assert play(nowhere) == [Step(replies=(NOT_FOUND,))]


def test_what_cannot_be_read_is_refused() -> None:
    assert play(request(), asked(b"{"))[-1] == Step(replies=(refusal(400, "the body is not a JSON object"),))


def test_a_request_without_a_body_is_refused_with_its_headers() -> None:
    assert play(request(end=True)) == [Step(replies=(refusal(400, "the body is not a JSON object"),))]


def test_a_body_beyond_the_bound_is_refused() -> None:
    assert play(request(), asked(b" " * 200_001))[-1] == Step(replies=(TOO_LARGE,))


def test_a_whole_body_need_not_say_so() -> None:
    """Envoy's BUFFERED body with trailers behind it."""
    assert play(request(), asked(end=False), RECORDED)[-1].replies == (FORWARD,)


def test_an_admitted_request_may_be_refused_before_its_body() -> None:
    interception = opened(request())
    assert interception.refuse(OVERLOADED) == Step(replies=(OVERLOADED,))
    assert interception.phase is Phase.DONE
    assert interception.close(9.0) == ()


def test_a_passthrough_has_its_verdict_at_once() -> None:
    """Its bodies are nobody's business, and it is no interception: no id in the notes."""
    get = Headers(side=Side.REQUEST, at=1.0, pairs=((":method", "GET"), (":path", "/openai/v1/models"), PAIRS[2]))
    steps = play(get, response(status="200"), answered(b"{}", end=True))
    assert steps == [
        Step(
            replies=(
                structs.replace(
                    FORWARD,
                    part=Part.HEADERS,
                    observe=Observe.HEADERS,
                    notes={"actor": "alice"},
                    set=(TIMED, *FORWARD.set),
                ),
            )
        ),
        Step(
            replies=(Ack(side=Side.RESPONSE, part=Part.HEADERS),),
            records=(
                Passed(
                    at=1.0,
                    ended_at=4.0,
                    actor="alice",
                    provider_name="openai",
                    method="GET",
                    path="/openai/v1/models",
                    url="https://api.openai.com/v1/models",
                    http_status=200,
                ),
            ),
        ),
        seen(Side.RESPONSE),
    ]


@pytest.mark.parametrize(
    ("query", "is_stream"),
    [("", False), ("?stream=true&starting_after=7", True), ("?stream=false", False), ("?after=stream=1", False)],
)
def test_a_stored_response_asked_for_as_a_stream_takes_its_time(query: str, *, is_stream: bool) -> None:
    """No other passthrough may."""
    path = (":path", f"/openai/v1/responses/resp_1{query}")
    [step] = play(Headers(side=Side.REQUEST, at=1.0, pairs=((":method", "GET"), path, PAIRS[2]), end=True))
    [verdict] = step.replies
    assert isinstance(verdict, Forward)
    assert verdict.set == (FORWARD.set if is_stream else (TIMED, *FORWARD.set))


def test_a_passthrough_that_nobody_answers_is_told_all_the_same() -> None:
    get = Headers(side=Side.REQUEST, at=1.0, pairs=((":method", "GET"), (":path", "/openai/v1/models"), PAIRS[2]))
    [passed] = opened(get).close(9.0)
    assert isinstance(passed, Passed)
    assert (passed.ended_at, passed.http_status) == (9.0, None)


# A long body


def text(size: int) -> bytes:
    return b'{"model":"gpt-5","input":"' + b"x" * size + b'"}'


ENCODED = ("content-encoding", "gzip")
ROOMY = replace(POLICY, bounds=Bounds())
LONG = 262_144


@pytest.mark.parametrize(("size", "is_short"), [(262_000, True), (LONG, False)])
def test_a_body_that_may_be_long_is_not_read_shortly(size: int, *, is_short: bool) -> None:
    """However few bytes it had been made of: 300 are enough."""
    plain, packed = asked(text(size)), asked(gzip.compress(text(size)))
    for sent, body in ((request(), plain), (request(ENCODED), packed)):
        interception = opened(sent, policy=ROOMY)
        assert interception.completes(body)
        told = interception.asked(body, ANY)
        assert told == Request(
            model="gpt-5",
            streaming=False,
            background=False,
            prompt="x" * size,
            correlating_tool_call=None,
            user_id=None,
        )
        assert isinstance(interception.asked(body), Request if is_short else TooLarge)


def test_a_body_is_read_with_its_last_piece() -> None:
    """Or with the trailers behind it."""
    interception = opened(request(), asked(text(LONG), end=False), policy=ROOMY, duplex=BOTH)
    trailers = Trailers(side=Side.REQUEST, at=2.0)
    assert not interception.completes(asked(b"", end=False))
    for last in (asked(b"", end=True), trailers):
        assert interception.completes(last)
        assert isinstance(interception.asked(last), TooLarge)
        assert isinstance(interception.asked(last, ANY), Request)


def test_nothing_else_completes_a_body() -> None:
    interception = opened(request())
    for event in (request(), response(), answered(b""), Recorded(at=3.0, durable=True)):
        assert not interception.completes(event)
    assert not opened(request(), asked(text(1))).completes(asked(text(1)))


@pytest.mark.parametrize("body", [text(LONG), b"{"])
def test_read_elsewhere_it_is_as_if_it_had_been_here(body: bytes) -> None:
    here, there = opened(request(), policy=ROOMY), opened(request(), policy=ROOMY)
    assert there.receive(asked(body), there.asked(asked(body), ANY)) == here.receive(asked(body))


def test_what_cannot_be_decoded_elsewhere_is_refused_here() -> None:
    interception = opened(request(ENCODED))
    step = interception.receive(asked(b"no gzip"), interception.asked(asked(b"no gzip")))
    assert step == opened(request(ENCODED)).receive(asked(b"no gzip"))
    assert step.replies[0].status == 415  # type: ignore[union-attr]


# The response


def test_a_json_answer_is_recorded_with_its_end() -> None:
    steps = play(*BEGUN, response(), answered(ANSWER[:30]), answered(ANSWER[30:], end=True))
    assert steps[3:5] == [seen(Side.RESPONSE, Part.HEADERS), seen(Side.RESPONSE)]
    assert steps[5] == Step(replies=seen(Side.RESPONSE).replies, records=ALL_OF_IT, wait=Wait.END)


def test_a_streamed_answer_is_recorded_with_its_terminal_event() -> None:
    """Codex hangs up right behind it, before the stream's end."""
    steps = play(*BEGUN, response(EVENT_STREAM), answered(CREATED), answered(COMPLETED), answered(b"", end=True))
    assert [step.wait for step in steps[3:]] == [Wait.NOTHING, Wait.NOTHING, Wait.END, Wait.NOTHING]
    assert steps[5].records == ALL_OF_IT
    assert steps[6] == seen(Side.RESPONSE)


def test_trailers_end_a_response() -> None:
    steps = play(*BEGUN, response(), answered(ANSWER), Trailers(side=Side.RESPONSE, at=5.0))
    assert steps[-1] == Step(replies=(Ack(side=Side.RESPONSE, part=Part.TRAILERS),), records=ALL_OF_IT, wait=Wait.END)


def test_a_content_length_reached_ends_a_response() -> None:
    """The last bytes often come without the mark, and the mark in an empty message of its own."""
    [*_, last] = play(*BEGUN, response(("content-length", str(len(ANSWER)))), answered(ANSWER))
    assert last.records == ALL_OF_IT


def test_an_event_that_only_looks_like_the_last_does_not_end_it() -> None:
    """Told by its bytes it may be; read, it is not."""
    odd = b'data: {"sequence_number":1,"type":"response.output_text.delta"}\n\n'
    assert play(*BEGUN, response(EVENT_STREAM), answered(odd))[-1] == seen(Side.RESPONSE)


def test_a_response_of_headers_alone_ends_with_them() -> None:
    step = play(*BEGUN, response(status="401", end=True))[-1]
    assert step == Step(
        replies=(Ack(side=Side.RESPONSE, part=Part.HEADERS),),
        records=(failed(ErrorType.UNAUTHORIZED, "the provider answered 401", at=4.0, status=401),),
        wait=Wait.END,
    )


@pytest.mark.parametrize(
    ("status", "details", "kind", "message"),
    [
        ("503", "upstream_reset{10.0.0.1}", ErrorType.DISCONNECTED, "Envoy answered 503: upstream_reset"),
        ("504", "response_timeout", ErrorType.TIMEOUT, "Envoy answered 504: response_timeout"),
        ("500", "{secret}", ErrorType.DISCONNECTED, "Envoy answered 500: "),
    ],
)
def test_envoys_own_answer_is_not_the_providers(status: str, details: str, kind: ErrorType, message: str) -> None:
    """Of its details only the first word is kept: the rest may name addresses."""
    step = play(*BEGUN, response(status=status, details=details))[-1]
    assert step.records == (
        Prompt(interception=ID, at=4.0, msg_id="", text="hi"),
        failed(kind, message, at=4.0, status=int(status)),
    )


def test_a_response_without_attributes_is_the_providers() -> None:
    plain = structs.replace(response(), attributes={})
    assert play(*BEGUN, plain, answered(ANSWER, end=True))[-1].records == ALL_OF_IT


@pytest.mark.parametrize("word", ["sk-central-0123456789", "sk-central-01", "my_sk-central-0123456789_x"])
def test_a_key_is_not_kept_as_a_word_of_the_providers(word: str) -> None:
    """Providers echo keys, whole and in part."""
    provider = replace(OPENAI, api_key=SecretStr(word.replace("-", "_")))
    policy = replace(POLICY, providers={"openai": provider})
    echoed = b'{"error":{"type":"invalid","code":"%s"}}' % word.replace("-", "_").encode()
    step = play(*BEGUN, response(status="401"), answered(echoed, end=True), policy=policy)[-1]
    [end] = step.records
    assert isinstance(end, Ended)
    assert end.failure == Failure(type=ErrorType.UNAUTHORIZED, message="the provider answered 401 (invalid)")


@pytest.mark.parametrize(("word", "is_kept"), [("gateway_key_42", False), ("my_gateway_key_42", False), ("gate", True)])
def test_what_stands_in_extra_headers_is_not_kept_either(word: str, *, is_kept: bool) -> None:
    """They may hold keys; short values are none."""
    provider = replace(OPENAI, extra_headers={"x-gateway": "gateway_key_42", "x-short": "key"})
    policy = replace(POLICY, providers={"openai": provider})
    echoed = b'{"error":{"type":"monkey_business","code":"%s"}}' % word.encode()
    step = play(*BEGUN, response(status="401"), answered(echoed, end=True), policy=policy)[-1]
    words = f"monkey_business, {word}" if is_kept else "monkey_business"
    assert step.records == (failed(ErrorType.UNAUTHORIZED, f"the provider answered 401 ({words})", status=401),)


def test_a_short_word_of_the_providers_is_no_part_of_a_key() -> None:
    echoed = b'{"error":{"type":"sk","code":"central"}}'
    step = play(*BEGUN, response(status="401"), answered(echoed, end=True))[-1]
    assert step.records == (failed(ErrorType.UNAUTHORIZED, "the provider answered 401 (sk, central)", status=401),)


# A long answer


LENGTHY = b": %s\n" % (b"x" * 1_500_000)


def test_a_long_chunk_of_a_response_is_read_once_before_it_is_received() -> None:
    here, there = (opened(*BEGUN, response(EVENT_STREAM)) for _ in range(2))
    for chunk in (answered(LENGTHY + CREATED), answered(COMPLETED + LENGTHY)):
        assert there.is_long(chunk)
        assert len(list(there.reads_along(chunk))) == 1
        assert there.receive(chunk) == here.receive(chunk)
    assert there.phase is Phase.DONE


def test_a_long_response_is_read_before_the_trailers_that_end_it_are_received() -> None:
    here, there = (opened(*BEGUN, response()) for _ in range(2))
    body = answered(b'{"x":"\\ud800%s",%s' % (b"x" * 1_500_000, ANSWER[1:]))
    end = Trailers(side=Side.RESPONSE, at=6.0)
    for event in (body, end):
        assert there.is_long(event)
        for _ in there.reads_along(event):
            pass
        step = there.receive(event)
        assert step == here.receive(event)
    assert [type(record) for record in step.records] == [Prompt, Tokens, Thought, Tool, Ended]


def test_nothing_else_is_long() -> None:
    interception = opened(*BEGUN, response(EVENT_STREAM))
    assert not interception.is_long(answered(CREATED))
    assert not interception.is_long(asked(LENGTHY))
    assert not interception.is_long(Trailers(side=Side.RESPONSE, at=6.0))
    assert not opened(*BEGUN).is_long(answered(LENGTHY))
    assert not opened(*BEGUN, response(EVENT_STREAM), answered(COMPLETED)).is_long(answered(LENGTHY))


def test_what_is_kept_of_a_response_is_let_go_with_its_end() -> None:
    begun = b'{"id":"' + b"x" * 300_000
    interception = opened(*BEGUN, response(), answered(begun))
    assert interception.held == len(begun)
    interception.receive(answered(b'"}', end=True))
    assert interception.held == 0
    cut = opened(*BEGUN, response(), answered(begun))
    cut.close(9.0)
    assert cut.held == opened(*BEGUN).held == 0


# The end


@pytest.mark.parametrize(
    ("why", "message"),
    [
        (ErrorType.DISCONNECTED, "the client or the provider hung up"),
        (ErrorType.UNOBSERVED, "Envoy stopped showing the stream"),
    ],
)
def test_what_was_cut_keeps_its_prompt(why: ErrorType, message: str) -> None:
    assert opened(*BEGUN).close(9.0, why) == (
        Prompt(interception=ID, at=9.0, msg_id="", text="hi"),
        Ended(
            interception=ID,
            at=9.0,
            failure=Failure(type=why, message=message),
            http_status=None,
            provider_request_id=None,
        ),
    )


def test_what_was_seen_of_a_cut_response_is_kept() -> None:
    """The terminal event was taken in, but nobody had asked for it to be read."""
    interception = opened(*BEGUN, response(EVENT_STREAM), answered(CREATED))
    assert interception.close(9.0) == (
        structs.replace(PROMPT, at=9.0),
        failed(ErrorType.DISCONNECTED, "the client or the provider hung up", at=9.0, response="resp_1"),
    )


def test_a_rejected_request_keeps_no_prompt() -> None:
    interception = opened(request(), asked())
    assert interception.close(9.0, ErrorType.REJECTED) == (
        Ended(
            interception=ID,
            at=9.0,
            failure=Failure(type=ErrorType.REJECTED, message="the request could not be processed"),
            http_status=None,
            provider_request_id=None,
        ),
    )


def test_a_request_without_a_prompt_has_none_to_keep() -> None:
    interception = opened(request(), asked(b"{}"), RECORDED)
    assert [type(record) for record in interception.close(9.0)] == [Ended]


@pytest.mark.parametrize(
    "events",
    [
        (),
        (request(),),
        (request(), asked(b"{")),
        (*BEGUN, response(), answered(ANSWER, end=True)),
        (response(status="403"),),
        (request(), response(status="413")),
    ],
)
def test_what_was_not_decided_or_has_ended_has_nothing_to_say_at_the_end(events: tuple[Event, ...]) -> None:
    assert opened(*events).close(9.0) == ()


def test_only_the_first_end_has_records() -> None:
    interception = opened(*BEGUN)
    assert interception.close(9.0) != ()
    assert interception.close(10.0) == ()
    assert interception.receive(answered(COMPLETED)) == seen(Side.RESPONSE)


def test_a_reading_given_up_ends_as_unread() -> None:
    """The bytes are not lost, and what is known by the response's id is neither: who asked what got an answer."""
    interception = opened(*BEGUN, response(EVENT_STREAM), answered(CREATED))
    interception.read()
    interception.give_up()
    interception.read()
    assert interception.receive(answered(COMPLETED)) == seen(Side.RESPONSE)
    *others, ended = interception.receive(answered(b"", end=True)).records
    assert others == [PROMPT]
    assert isinstance(ended, Ended)
    assert ended.failure == Failure(
        type=ErrorType.UNREAD, message="the response could not be decoded within its bounds"
    )
    assert ended.answered.response == PROMPT.msg_id


def test_a_reading_given_up_before_its_id_was_read_has_its_end_alone() -> None:
    interception = opened(*BEGUN, response(EVENT_STREAM), answered(CREATED))
    interception.give_up()
    interception.read()
    assert interception.receive(answered(b"", end=True)).records == (
        failed(ErrorType.UNREAD, "the response could not be decoded within its bounds"),
    )


def test_a_reading_given_up_is_known_until_the_response_has_ended() -> None:
    interception = opened(*BEGUN, response(EVENT_STREAM))
    assert not interception.is_given_up
    interception.give_up()
    assert interception.is_given_up
    interception.receive(answered(b"", end=True))
    assert not interception.is_given_up


def test_an_interception_is_open_from_its_first_record_to_its_last() -> None:
    """Of a passthrough there is none."""
    get = Headers(side=Side.REQUEST, at=1.0, pairs=((":method", "GET"), (":path", "/openai/v1/models"), PAIRS[2]))
    assert not opened(request()).is_open
    assert opened(request(), asked()).is_open
    assert opened(*BEGUN, response()).is_open
    assert not opened(*BEGUN, response(), answered(ANSWER, end=True)).is_open
    assert not opened(get).is_open


def test_what_fails_before_the_response_costs_no_reading() -> None:
    interception = opened(request(), asked())
    interception.give_up()
    for event in (RECORDED, response()):
        interception.receive(event)
    assert interception.receive(answered(ANSWER, end=True)).records == ALL_OF_IT


def test_reading_ahead_changes_nothing() -> None:
    """Whether what was let go is read at once or with the end, the records are the same."""
    interception = opened(*BEGUN, response(EVENT_STREAM))
    for event in (answered(CREATED[:20]), answered(CREATED[20:])):
        interception.receive(event)
        interception.read()
    assert interception.receive(answered(COMPLETED)).records == ALL_OF_IT


def test_a_response_may_be_skimmed_and_nothing_else() -> None:
    """What says nothing needs no event, and leaves the same records."""
    delta = b'data: {"type":"response.output_text.delta"}\n\n'
    assert not opened(request()).skims(delta)
    interception = opened(*BEGUN, response(EVENT_STREAM), answered(CREATED))
    assert interception.skims(delta)
    assert not interception.skims(COMPLETED)
    assert interception.receive(answered(COMPLETED)).records == ALL_OF_IT
    assert not interception.skims(delta)


# Order


@pytest.mark.parametrize(
    ("before", "event"),
    [
        ((), asked()),
        ((request(),), request()),
        ((request(),), answered(b"")),
        ((request(), asked()), response()),
        (BEGUN, RECORDED),
        ((*BEGUN, response()), response()),
    ],
)
def test_what_cannot_have_happened_is_raised(before: tuple[Event, ...], event: Event) -> None:
    """And it changes nothing."""
    interception = opened(*before)
    phase = interception.phase
    with pytest.raises(OutOfOrder):
        interception.receive(event)
    assert interception.phase is phase


@pytest.mark.parametrize(
    ("before", "event", "part"),
    [
        ((request(),), response(status="413"), Part.HEADERS),
        ((), response(status="403"), Part.HEADERS),
        (BEGUN, asked(b""), Part.BODY),
        (BEGUN, Trailers(side=Side.REQUEST, at=2.0), Part.TRAILERS),
        ((*BEGUN, response()), asked(b""), Part.BODY),
        ((*BEGUN, response(), answered(ANSWER, end=True)), answered(b""), Part.BODY),
        ((*BEGUN, response(), answered(ANSWER, end=True)), Trailers(side=Side.RESPONSE, at=6.0), Part.TRAILERS),
    ],
)
def test_what_settles_nothing_is_acknowledged(before: tuple[Event, ...], event: Event, part: Part) -> None:
    assert not isinstance(event, Recorded)
    assert opened(*before).receive(event) == seen(event.side, part)


# A proxy that works FULL_DUPLEX_STREAMED

HEAD = structs.replace(FORWARD, part=Part.HEADERS)


def test_a_request_in_pieces_is_let_go_whole() -> None:
    pieces = (asked(ASKED[:9], end=False), asked(ASKED[9:], end=False), asked(b"", end=True))
    steps = play(request(), *pieces, RECORDED, duplex=BOTH)
    assert replies(steps) == (HEAD, Echo(side=Side.REQUEST, data=ASKED, end=True))
    assert [step.wait for step in steps] == [Wait.NOTHING, Wait.NOTHING, Wait.NOTHING, Wait.START, Wait.NOTHING]


def test_a_request_in_pieces_may_end_with_trailers() -> None:
    steps = play(request(), asked(end=False), Trailers(side=Side.REQUEST, at=2.0), RECORDED, duplex=BOTH)
    assert replies(steps) == (
        HEAD,
        Echo(side=Side.REQUEST, data=ASKED, end=False),
        Ack(side=Side.REQUEST, part=Part.TRAILERS),
    )


def test_a_request_in_pieces_is_refused_as_soon_as_it_is_too_large() -> None:
    steps = play(request(), asked(b" " * 150_000, end=False), asked(b" " * 50_001, end=False), duplex=BOTH)
    assert replies(steps) == (TOO_LARGE,)


def test_a_long_chunk_comes_back_in_pieces() -> None:
    """No proxy's gRPC client need take a message of any size."""
    data = bytes(range(256)) * 513
    step = play(*BEGUN, response(EVENT_STREAM), answered(data, end=True), duplex=BOTH)[-1]
    assert step.replies == (
        Echo(side=Side.RESPONSE, data=data[:65_536], end=False),
        Echo(side=Side.RESPONSE, data=data[65_536:131_072], end=False),
        Echo(side=Side.RESPONSE, data=data[131_072:], end=True),
    )


@given(data=st.binary(max_size=300_000), end=st.booleans())
def test_every_byte_comes_back_in_its_order(data: bytes, end: bool) -> None:  # noqa: FBT001 - hypothesis' arguments
    step = play(*BEGUN, response(EVENT_STREAM), answered(data, end=end), duplex=BOTH)[-1]
    echoes = [reply for reply in step.replies if isinstance(reply, Echo)]
    assert b"".join(echo.data for echo in echoes) == data
    assert [echo.end for echo in echoes] == [False] * (len(echoes) - 1) + [end]


def test_each_side_has_a_mode_of_its_own() -> None:
    only = frozenset({Side.RESPONSE})
    steps = play(*BEGUN, response(EVENT_STREAM), answered(b"x"), duplex=only)
    assert steps[2].replies == (FORWARD,)
    assert steps[-1].replies == (Echo(side=Side.RESPONSE, data=b"x", end=False),)


# Any cut


def cut(stream: bytes, at: list[int]) -> Iterator[bytes]:
    places = sorted({0, *(place for place in at if place < len(stream)), len(stream)})
    return (stream[begin:end] for begin, end in pairwise(places))


@given(at=st.lists(st.integers(0, len(CREATED + COMPLETED))))
def test_chunking_never_changes_a_streams_records(at: list[int]) -> None:
    chunks = [answered(chunk) for chunk in cut(CREATED + COMPLETED, at)]
    assert records(play(*BEGUN, response(EVENT_STREAM), *chunks)[3:]) == ALL_OF_IT


@given(at=st.lists(st.integers(0, len(ANSWER))))
def test_chunking_never_changes_a_documents_records(at: list[int]) -> None:
    chunks = [answered(chunk) for chunk in cut(ANSWER, at)]
    assert records(play(*BEGUN, response(), *chunks, answered(b"", end=True))[3:]) == ALL_OF_IT


ANYTHING = st.one_of(
    st.builds(asked, st.binary(max_size=60), end=st.booleans()),
    st.builds(answered, st.binary(max_size=60) | st.sampled_from([CREATED, COMPLETED, ANSWER]), end=st.booleans()),
    st.sampled_from([request(), request(ENCODED), request(end=True), asked(), RECORDED]),
    st.builds(response, st.sampled_from([EVENT_STREAM, ENCODED]), status=st.sampled_from(["200", "500", "", "x"])),
    st.builds(Trailers, side=st.sampled_from(Side), at=st.just(6.0)),
)


@given(events=st.lists(ANYTHING, max_size=12), duplex=st.frozensets(st.sampled_from(Side)))
def test_whatever_happens_it_ends_once_if_it_started_and_raises_nothing_else(
    events: list[Event], duplex: frozenset[Side]
) -> None:
    """No order and no bytes bring anything but OutOfOrder out of it."""
    interception = Interception(id=ID, policy=POLICY, duplex=duplex)
    told: list[Record] = []
    for event in events:
        try:
            told += interception.receive(event).records
        except OutOfOrder:
            continue
        interception.read()
    told += interception.close(9.0)
    kinds = [type(record) for record in told]
    assert kinds.count(Ended) == kinds.count(Started) <= 1
    assert interception.phase is Phase.DONE


def test_the_answer_to_what_nobody_foresaw_is_a_refusal_too() -> None:
    """The server's, when reading failed; it takes the same way."""
    assert opened(request()).refuse(INTERNAL).replies == (INTERNAL,)


NO_GUESTS = replace(POLICY, permissions=(Permission(allows=False, actors=("alice",), models=("gpt-5",)),))
NOBODY_AT_ALL = replace(POLICY, permissions=(Permission(allows=False),))


@pytest.mark.parametrize("body", [b'{"model":"gpt-5"}', b'{"model":"gpt-5","background":true}'])
def test_a_denied_request_is_recorded_refused_and_ended(body: bytes) -> None:
    """Whatever else would be wrong with it: what somebody may not use they need not know more of."""
    notes = {"actor": "alice", "interception": ID}
    [_, start, verdict] = play(request(), asked(body), RECORDED, policy=NO_GUESTS)
    assert start.wait is Wait.START
    assert verdict == Step(
        replies=(structs.replace(DENIED, notes=notes),),
        records=(
            Ended(
                interception=ID,
                at=3.0,
                failure=Failure(type=ErrorType.REJECTED, message="a policy denies it"),
                http_status=403,
                provider_request_id=None,
            ),
        ),
        wait=Wait.END,
    )


def test_what_no_rule_denies_passes() -> None:
    step = play(request(), asked(b'{"model":"gpt-6"}'), RECORDED, policy=NO_GUESTS)[-1]
    assert isinstance(step.replies[0], Forward)


def test_a_denied_passthrough_is_refused_without_a_record() -> None:
    """What it asks for is not read, so only rules about every model are about it."""
    pairs = ((":method", "GET"), (":path", "/openai/v1/models"), ("x-forwarded-user", "alice"))
    headers = Headers(side=Side.REQUEST, at=1.0, pairs=pairs, end=True)
    refused, passed = play(headers, policy=NOBODY_AT_ALL), play(headers, policy=NO_GUESTS)
    assert refused == [Step(replies=(structs.replace(DENIED, notes={"actor": "alice"}),))]
    assert isinstance(passed[0].replies[0], Forward)


def test_a_token_s_claims_are_the_actor_s_metadata() -> None:
    """In the record, and in the headers where the provider wants them."""
    providers = {"openai": replace(OPENAI, send_actor_headers=True)}
    policy = replace(POLICY, source=Source.JWT, metadata_claims=("team",), providers=providers)
    headers = structs.replace(request(), claims={"sub": "grace", "team": "navy", "aud": "us"})
    [_, start, verdict] = play(headers, asked(), RECORDED, policy=policy)
    (started,) = start.records
    assert isinstance(started, Started)
    assert (started.initiator, started.actor_metadata) == ("grace", {"team": "navy"})
    (reply,) = verdict.replies
    assert isinstance(reply, Forward)
    sent = {name: value for name, value in reply.set if name.startswith("x-ai-bridge-actor")}
    assert sent == {"x-ai-bridge-actor-id": "grace", "x-ai-bridge-actor-metadata-team": "navy"}
