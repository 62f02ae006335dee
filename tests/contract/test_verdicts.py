"""What the provider and the client are made to see, as exact values."""

from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from pydantic import SecretStr

from tests.contract import peer
from tests.contract.worker import FIRST, KEY, OPENAI, POLICY, Worker, serving

BODY = b'{"model":"gpt-5","input":"hi"}'
STREAMING = b'{"model":"gpt-5","input":"hi","stream":true}'
BACKGROUND = b'{"model":"gpt-5","input":"hi","background":true}'
TIME_OUT = ("x-envoy-upstream-rq-timeout-ms", "600000")
JSON = ("content-type", "application/json")
FINAL = (JSON, ("x-should-retry", "false"))
UNSUPPORTED = b'{"code":"501","message":"background requests are currently not supported by AI Bridge"}'
CLIENTS = (
    ("authorization", "Bearer sk-client-abcdefghijkl"),
    ("user-agent", "codex_cli_rs/0.50"),
    ("session_id", "s-1"),
    ("x_api_key", "other"),
    ("cookie", "a=b"),
    ("x-envoy-upstream-rq-timeout-ms", "1"),
    ("x-ai-bridge-actor-id", "root"),
    ("openai-beta", "responses=v1"),
    ("openai-project", "p"),
    ("x-forwarded-for", "10.0.0.1"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("connection", "keep-alive"),
    ("accept-encoding", "gzip, br"),
    ("x-odd", "\u00fc"),
)


@pytest.mark.parametrize("spelling", ["raw_value", "value"])
async def test_both_spellings_of_a_header_are_read(worker: Worker, spelling: str) -> None:
    """Envoy sends `raw_value`, other proxies `value`; what we set is `raw_value`, which Envoy alone takes from us."""
    stream = worker.stream()
    await stream.ask(peer.request_headers(peer.POST, *CLIENTS, spelling=spelling))
    assert await stream.ask(peer.request_body(STREAMING)) == [
        peer.passed_at_body(
            (("accept-encoding", "identity"), ("authorization", "Bearer sk-client-abcdefghijkl")),
            (
                "x-forwarded-user",
                "x_api_key",
                "cookie",
                "x-envoy-upstream-rq-timeout-ms",
                "x-ai-bridge-actor-id",
                "x-forwarded-for",
                "traceparent",
                "connection",
            ),
            actor="alice",
            interception=FIRST,
        )
    ]
    await stream.end()
    await worker.settled()
    assert worker.rows(
        "SELECT initiator_id, client, client_session_id, user_agent, credential_kind, credential_hint, request_id, "
        "streaming FROM interceptions"
    ) == [
        {
            "initiator_id": "alice",
            "client": "Codex",
            "client_session_id": "s-1",
            "user_agent": "codex_cli_rs/0.50",
            "credential_kind": "byok",
            "credential_hint": "sk-c...ijkl",
            "request_id": "5f1c3f3a-0000-4000-8000-000000000001",
            "streaming": 1,
        }
    ]


async def test_the_operators_settings_decide_what_is_set(folder: Path) -> None:
    """The central key under a name of its own, headers of the operator's, the actor's; the client's cookies kept."""
    provider = replace(
        OPENAI,
        byok=False,
        auth_header="api-key",
        send_actor_headers=True,
        pass_cookies=True,
        extra_headers={"openai-project": "ours"},
    )
    async with serving(folder, policy=replace(POLICY, providers={"openai": provider})) as worker:
        stream = worker.stream()
        assert await stream.ask(peer.request_headers(peer.POST, *CLIENTS), peer.request_body(BODY)) == [
            peer.HEADERS_SEEN,
            peer.passed_at_body(
                (
                    ("openai-project", "ours"),
                    TIME_OUT,
                    ("accept-encoding", "identity"),
                    ("x-ai-bridge-actor-id", "alice"),
                    ("api-key", KEY),
                ),
                ("x-forwarded-user", "authorization", "x_api_key", "x-forwarded-for", "traceparent", "connection"),
                actor="alice",
                interception=FIRST,
            ),
        ]
        await stream.end()


async def test_a_header_of_bytes_that_are_no_text_is_passed_over_in_silence(worker: Worker) -> None:
    """It is the client's, and the provider's to judge; what we keep of it can be stored."""
    message = peer.request_headers(peer.POST, ("authorization", "Bearer x"), ("user-agent", "x"))
    for header in message.request_headers.headers.headers[-2:]:
        header.raw_value = header.raw_value.replace(b"x", b"k\xff\xfey")
    stream = worker.stream()
    [_, verdict] = await stream.ask(message, peer.request_body(STREAMING))
    options = verdict.request_body.response.header_mutation.set_headers
    assert [option.header.raw_value for option in options] == [b"identity", b"Bearer k\xff\xfey"]
    await stream.end()
    await worker.settled()
    assert worker.rows("SELECT user_agent FROM interceptions") == [{"user_agent": "k\ufffd\ufffdy"}]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/openai/v1/models"), ("DELETE", "/openai/v1/responses/r_1"), ("POST", "/openai/v1/conversations")],
)
@pytest.mark.parametrize("end", [True, False])
async def test_a_passthrough_has_its_verdict_at_once_and_no_record(
    worker: Worker, method: str, path: str, *, end: bool
) -> None:
    """Its bodies are nobody's business: Envoy is told to show the headers alone, in words that it allows."""
    pairs = ((":method", method), (":path", path), ("x-forwarded-user", "alice"))
    stream = worker.stream()
    assert await stream.ask(peer.request_headers(pairs, end=end)) == [
        peer.passed_at_headers(
            (TIME_OUT, ("accept-encoding", "identity"), ("authorization", f"Bearer {KEY}")),
            ("x-forwarded-user",),
            mode=peer.HEADERS_ALONE,
            actor="alice",
        )
    ]
    assert await stream.ask(peer.response_headers()) == [peer.ANSWER_HEADERS_SEEN]
    assert await stream.end() == []
    await worker.settled()
    assert worker.ends() == []


async def test_a_passthroughs_bodies_may_be_shown_all_the_same(worker: Worker) -> None:
    """A proxy may not let itself be told what to send."""
    pairs = ((":method", "POST"), (":path", "/openai/v1/conversations"), ("x-forwarded-user", "alice"))
    stream = worker.stream()
    [_, *acks] = await stream.ask(
        peer.request_headers(pairs),
        peer.request_body(b"{}"),
        peer.request_trailers(),
        peer.response_headers(),
        peer.response_body(b"{}", end=True),
        peer.response_trailers(),
    )
    assert acks == [
        peer.BODY_SEEN,
        peer.TRAILERS_SEEN,
        peer.ANSWER_HEADERS_SEEN,
        peer.ANSWER_BODY_SEEN,
        peer.ANSWER_TRAILERS_SEEN,
    ]
    await stream.end()


def said(status: int, message: str) -> bytes:
    return b'{"code":"%d","message":"%s"}' % (status, message.encode())


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        pytest.param(
            (*peer.POST[:4], JSON), peer.refused(400, said(400, "no actor found"), FINAL), id="nobody"
        ),
        pytest.param(
            (*peer.POST, ("x-forwarded-user", "bob")),
            peer.refused(
                400, said(400, "more than one actor found: x-forwarded-user must be sent once"), FINAL
            ),
            id="two actors",
        ),
        pytest.param(
            ((":method", "POST"), (":path", "/openai/v1/responses/"), ("x-forwarded-user", "a")),
            peer.refused(404, said(404, "no such route"), FINAL),
            id="no route",
        ),
        pytest.param(
            ((":method", "PUT"), (":path", "/openai/v1/responses"), ("x-forwarded-user", "a")),
            peer.refused(405, said(405, "method not allowed"), (*FINAL, ("allow", "POST"))),
            id="another method",
        ),
        pytest.param(
            (*peer.POST, ("content-length", "8388609")),
            peer.refused(413, said(413, "request body too large"), FINAL),
            id="too large, as announced",
        ),
    ],
)  # fmt: skip
async def test_what_the_headers_give_away_is_refused_at_once(
    worker: Worker, headers: peer.Pairs, refusal: peer.ProcessingResponse
) -> None:
    stream = worker.stream()
    assert await stream.ask(peer.request_headers(headers)) == [refusal]
    assert await stream.end() == []
    await worker.settled()
    assert worker.ends() == []


async def test_without_a_key_the_setting_is_named(folder: Path) -> None:
    policy = replace(POLICY, providers={"openai": replace(OPENAI, api_key=None)})
    async with serving(folder, policy=policy) as worker:
        stream = worker.stream()
        assert await stream.ask(peer.request_headers()) == [
            peer.refused(500, said(500, "no key for provider openai: set providers.api_key or api_key_file"), FINAL)
        ]
        await stream.end()


@pytest.mark.parametrize(
    ("more", "body", "refusal"),
    [
        pytest.param((), b"", (400, "the body is not a JSON object"), id="empty"),
        pytest.param((), b"[]", (400, "the body is not a JSON object"), id="no object"),
        pytest.param((), b'{"model":"a","model":"b"}', (400, "the body has model twice"), id="twice"),
        pytest.param(
            (("content-type", "application/json; charset=utf-16"),),
            BODY,
            (415, "the body's charset must be utf-8"),
            id="charset",
        ),
        pytest.param((), b" " * 8_388_609, (413, "request body too large"), id="too large"),
        pytest.param(
            (("content-encoding", "zstd"),),
            zstandard.compress(b" " * 8_388_609),
            (413, "request body too large"),
            id="bomb",
        ),
    ],
)
async def test_what_the_body_gives_away_is_refused(
    worker: Worker, more: peer.Pairs, body: bytes, refusal: tuple[int, str]
) -> None:
    stream = worker.stream()
    status, message = refusal
    assert await stream.ask(peer.request_headers(peer.POST, *more), peer.request_body(body)) == [
        peer.HEADERS_SEEN,
        peer.refused(status, said(status, message), FINAL),
    ]
    await stream.end()
    await worker.settled()
    assert worker.ends() == []


async def test_a_post_without_a_body_is_refused_with_its_headers(worker: Worker) -> None:
    """There will be no body message to answer."""
    stream = worker.stream()
    assert await stream.ask(peer.request_headers(end=True)) == [
        peer.refused(400, said(400, "the body is not a JSON object"), FINAL)
    ]
    await stream.end()


@pytest.mark.parametrize("end", [True, False])
async def test_a_buffered_body_is_whole_whatever_it_says_of_its_end(worker: Worker, *, end: bool) -> None:
    """With trailers Envoy sends it without the mark."""
    stream = worker.stream()
    await stream.ask(peer.request_headers(modes=(peer.Mode.BUFFERED, peer.Mode.STREAMED)))
    [verdict] = await stream.ask(peer.request_body(BODY, end=end))
    assert verdict == peer.passed_at_body(
        (TIME_OUT, ("accept-encoding", "identity"), ("authorization", f"Bearer {KEY}")),
        ("x-forwarded-user",),
        actor="alice",
        interception=FIRST,
    )
    await stream.end()


@pytest.mark.parametrize(
    ("more", "body"),
    [
        ((), BACKGROUND),
        ((("content-encoding", "zstd"),), zstandard.compress(BACKGROUND)),
        ((), b'{"background":"yes"}'),
        ((), b'{"b\\u0061ckground":true}'),
        ((), b'{"background":false,"background":true}'),
    ],
)
async def test_a_background_request_is_recorded_and_refused(worker: Worker, more: peer.Pairs, body: bytes) -> None:
    """Its answer would come without anybody to see it. The refusal names the interception, for the access log."""
    stream = worker.stream()
    notes = peer.noted(actor="alice", interception=FIRST)
    assert await stream.ask(peer.request_headers(peer.POST, *more), peer.request_body(body)) == [
        peer.HEADERS_SEEN,
        peer.refused(501, UNSUPPORTED, FINAL, notes),
    ]
    assert worker.rows("SELECT status, error_type, error_message, http_status FROM interceptions") == [
        {
            "status": "failed",
            "error_type": "rejected",
            "error_message": "background requests are not supported",
            "http_status": 501,
        }
    ]
    assert await stream.end() == []
    await worker.settled()
    assert worker.rows("SELECT prompt FROM user_prompts") == []


@pytest.mark.parametrize("mode", [peer.Mode.STREAMED, peer.Mode.BUFFERED_PARTIAL, peer.Mode.NONE, peer.Mode.GRPC])
async def test_a_proxy_that_lets_a_body_go_before_it_was_seen_is_refused(worker: Worker, mode: peer.Mode) -> None:
    """What cannot be judged must not pass: nothing is recorded, and nothing goes to the provider."""
    stream = worker.stream()
    assert await stream.ask(peer.request_headers(modes=(mode, peer.Mode.STREAMED))) == [
        peer.refused(500, said(500, "the request could not be processed"), (JSON,))
    ]
    assert await stream.end() == []
    await worker.settled()
    assert worker.ends() == []


async def test_the_verdict_is_what_this_start_says_it_is(folder: Path) -> None:
    """A value that nobody else can know, under `up`."""
    async with serving(folder) as worker:
        worker.processor.verdict = "b1946ac9"
        stream = worker.stream()
        [_, verdict] = await stream.ask(peer.request_headers(), peer.request_body(BODY))
        assert verdict.dynamic_metadata == peer.Struct.from_dict(
            {"aibridge.verdict": {"decision": "b1946ac9", "actor": "alice", "interception": FIRST}}
        )
        await stream.end()


async def test_the_providers_secret_is_never_the_clients_to_see(folder: Path) -> None:
    """Nor does a refusal hold what was asked."""
    policy = replace(POLICY, providers={"openai": replace(OPENAI, api_key=SecretStr("sk-canary-0123456789"))})
    async with serving(folder, policy=policy) as worker:
        stream = worker.stream()
        await stream.ask(peer.request_headers(), peer.request_body(b'{"input":"canary","background":1}'))
        assert b"canary" not in b"".join(stream.heard)
        await stream.end()
