"""No spelling of a path, no header and no protocol leads past the sidecar, or past the list of what may pass."""

from contextlib import suppress

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, Bridge
from tests.e2e.connections import ACTOR, Connection, ask, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script

BACKGROUND = b'{"model":"aster-2","input":"hi","background":true}'
UPGRADED = {"code": "426", "message": "upgrades are not supported; use HTTP requests"}
WEBSOCKET = (
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
# How one might write `/openai/v1/responses`, and the verdict of whoever stops a background request at it: the route is
# found and the body judged (501), there is no such route (404), the method is wrong for what it is (405), or Envoy
# does not take it for a path (400).
SPELLINGS = {
    "/openai/v1/responses": 501,
    "/openai/v1/responses?x=1": 501,
    "/openai/v1//responses": 501,
    "/openai//v1/responses": 501,
    "//openai/v1/responses": 501,
    "/openai/v1/./responses": 501,
    "/openai/v1/x/../responses": 501,
    "/openai/v1/models/../responses": 501,
    "/x/../openai/v1/responses": 501,
    "/openai/v1/%72esponses": 501,
    "/openai/v1/%2e%2e/v1/responses": 501,
    "/%6fpenai/v1/responses": 501,
    "/openai/v1/responses/": 404,
    "/openai/v1/responses//": 404,
    "/openai/v1/responses/.": 404,
    "/openai/v1/responses;a": 404,
    "/openai/v1/responses%20": 404,
    "/openai/v1/responses%00": 400,
    "/openai/v1/responses%0a": 404,
    "/openai/v1/responses%3Fx": 404,
    "/openai/v1/responses%2F": 400,
    "/openai/v1%2Fresponses": 400,
    "/openai/v1%5Cresponses": 400,
    "/openai/v1\\responses": 501,
    "/openai/v1/%2572esponses": 404,
    "/openai/v1/Responses": 404,
    "/OpenAI/v1/responses": 404,
    "/openai/v2/responses": 404,
    "/openai/v1/responses%c3%a9": 404,
    "/openai/responses": 404,
    "/v1/responses": 404,
    "/unknown/v1/responses": 404,
    "/openai/v1/": 404,
    "/openai/v1": 404,
    "/": 404,
    "/healthz/": 404,
    "/healthz": 404,
    "/openai/v1/chat/completions": 404,
    "/openai/v1/embeddings": 404,
    "/openai/v1/files": 404,
    "/openai/v1/responses/resp_1": 405,
    "/openai/v1/models": 405,
    "http://elsewhere.example/openai/v1/responses": 501,
}
LISTED = [
    ("GET", "/openai/v1/models"),
    ("GET", "/openai/v1/models/gpt-5"),
    ("GET", "/openai/v1/responses/resp_1"),
    ("DELETE", "/openai/v1/responses/resp_1"),
    ("GET", "/openai/v1/responses/resp_1/input_items"),
    ("POST", "/openai/v1/responses/resp_1/cancel"),
    ("POST", "/openai/v1/responses/input_tokens"),
    ("POST", "/openai/v1/conversations"),
    ("GET", "/openai/v1/conversations/conv_1"),
    ("POST", "/openai/v1/conversations/conv_1"),
    ("DELETE", "/openai/v1/conversations/conv_1"),
    ("GET", "/openai/v1/conversations/conv_1/items"),
    ("POST", "/openai/v1/conversations/conv_1/items"),
    ("GET", "/openai/v1/conversations/conv_1/items/msg_1"),
    ("DELETE", "/openai/v1/conversations/conv_1/items/msg_1"),
]
UNLISTED = [
    ("DELETE", "/openai/v1/models/ft:gpt-5:org::1"),
    ("POST", "/openai/v1/models/gpt-5"),
    ("PUT", "/openai/v1/responses/resp_1"),
    ("PATCH", "/openai/v1/responses"),
    ("POST", "/openai/v1/responses/resp_1/generate"),
    ("POST", "/openai/v1/responses/resp_1/cancel/now"),
    ("GET", "/openai/v1/responses"),
    ("OPTIONS", "/openai/v1/responses"),
    ("HEAD", "/openai/v1/models"),
    ("TRACE", "/openai/v1/responses"),
]
# Others' credentials, what is said of us, and look-alikes: none of the provider's business.
DROPPED = [
    "authorization", "proxy-authorization", "x-api-key", "x_api_key", "api-key", "api_key", "cookie", "te",
    "trailer", "keep-alive", "proxy-authenticate", "x-auth-request-access-token", "x_auth_request_email",
    "cf-access-jwt-assertion", "x-amzn-oidc-data", "x-goog-iap-jwt-assertion", "x-ms-token-aad-access-token",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-email", "x_forwarded_user",
    "forwarded", "x-envoy-original-path", "x-envoy-external-address", "traceparent", "tracestate", "baggage",
    "x-ai-bridge-actor-metadata-team", "x_ai_bridge_actor_id", "x-ai-bridge_actor-id", "openai-organization",
    "openai-project", "openai_project",
]  # fmt: skip


@pytest.mark.parametrize("path", SPELLINGS)
def test_a_background_request_is_stopped_however_its_path_is_spelt(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, path: str
) -> None:
    script[case] = whole(case)
    response = ask(shared.port, case, BACKGROUND, path=path)
    assert response.status == SPELLINGS[path]
    assert response.first("content-type") == "application/json"
    assert response.json()["code"] == str(response.status)
    assert case not in provider.seen


@pytest.mark.parametrize(
    "smuggled",
    [
        b"POST /openai/v1/responses\xe9 HTTP/1.1\r\nhost: b\r\ncontent-length: 0\r\n\r\n",
        b"post /openai/v1/responses HTTP/1.1\r\nhost: b\r\ncontent-length: 0\r\n\r\n",
        b"POST /openai/v1/responses HTTP/1.1\r\nhost: b\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\n{}\n\n\n",
        b"POST / HTTP/1.1\r\nhost: b\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /openai/v1/responses HTTP/1.1\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /openai/v1/responses HTTP/1.1\r\nhost: b\r\nbad name: x\r\ncontent-length: 0\r\n\r\n",
        b"POST /openai/v1/responses HTTP/1.1\r\nhost: b\r\nname: a\x00b\r\ncontent-length: 0\r\n\r\n",
        b"POST /openai/v1/responses HTTP/1.0\r\nhost: b\r\ncontent-length: 0\r\n\r\n",
        b"POST /openai/v1/responses\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
    ],
)
def test_what_is_no_http_ends_its_connection(shared: Bridge, provider: ThreadedProvider, smuggled: bytes) -> None:
    """Two readings of where a request ends would be two requests."""
    before = len(provider.seen[""])
    with Connection(shared.port) as connection:
        connection.send(smuggled)
        with suppress(EOFError, ConnectionError):
            assert connection.response().status in {400, 426, 501}
        assert connection.ended()
    assert len(provider.seen[""]) == before


def test_who_speaks_an_old_http_is_told_which_is_spoken(shared: Bridge) -> None:
    """A proxy in between may, and its operator has nothing else to go by."""
    with Connection(shared.port) as connection:
        connection.send(b"GET /openai/v1/models HTTP/1.0\r\nhost: b\r\n\r\n")
        message = "HTTP/1.0 is not spoken here; use HTTP/1.1 or HTTP/2"
        assert connection.response().json() == {"code": "426", "message": message}


@pytest.mark.parametrize(("method", "path"), LISTED)
def test_what_is_listed_passes_with_the_provider_s_key_and_no_interception(  # noqa: PLR0913, PLR0917 - fixtures
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, method: str, path: str
) -> None:
    script[case] = whole(case)
    body = ASKED if method == "POST" else b""
    response = ask(shared.port, case, body, method=method, path=f"{path}?limit=3")
    assert (response.status, response.body) == (200, whole(case).body)
    (seen,) = provider.seen[case]
    assert (seen.method, seen.target, seen.body) == (method, f"{path.removeprefix('/openai')}?limit=3", body)
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    assert seen.all("x-forwarded-user") == []
    assert shared.sessions(case) == []


@pytest.mark.parametrize(("method", "path"), LISTED)
def test_what_is_listed_is_not_for_nobody(
    shared: Bridge, provider: ThreadedProvider, case: str, method: str, path: str
) -> None:
    response = ask(shared.port, case, b"", ("x-forwarded-user", " "), method=method, path=path)
    assert (response.status, response.json()) == (400, {"code": "400", "message": "no actor found"})
    assert case not in provider.seen


@pytest.mark.parametrize(("method", "path"), UNLISTED)
def test_what_is_not_listed_is_refused(  # noqa: PLR0913, PLR0917 - fixtures
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, method: str, path: str
) -> None:
    script[case] = whole(case)
    with Connection(shared.port) as connection:
        connection.send(request(case, ASKED, ("connection", "close"), method=method, path=path))
        assert connection.head().status in {400, 404, 405}
    assert case not in provider.seen


@pytest.mark.parametrize(
    "path", ["/openai/v1/responses", "/openai/v1/models", "/openai/v1/x", "/elsewhere", "/healthz"]
)
def test_an_upgrade_is_answered_with_426_wherever_it_goes(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, path: str
) -> None:
    """Codex falls back to HTTP at that, and at nothing else."""
    script[case] = whole(case)
    response = ask(shared.port, case, b"", *WEBSOCKET, method="GET", path=path)
    assert (response.status, response.json()) == (426, UPGRADED)
    assert response.first("content-type") == "application/json"
    assert case not in provider.seen


def test_connect_is_answered_with_426(shared: Bridge, provider: ThreadedProvider, case: str) -> None:
    host = provider.url.removeprefix("http://")
    with Connection(shared.port) as connection:
        connection.send(f"CONNECT {host} HTTP/1.1\r\nhost: {host}\r\nx-case: {case}\r\n\r\n".encode())
        response = connection.response()
    assert (response.status, response.json()) == (426, UPGRADED)
    assert case not in provider.seen


def test_an_upgrade_to_http_2_is_ignored(shared: Bridge, script: Script, case: str) -> None:
    """A client that offers it goes on with HTTP/1.1 where nobody answers the offer."""
    script[case] = whole(case)
    offer = (("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQAAP__"))
    response = ask(shared.port, case, ASKED, *offer)
    assert (response.status, response.body) == (200, whole(case).body)
    assert shared.session(case).ended == ("completed", None, 200)


@pytest.mark.parametrize("name", DROPPED)
def test_a_header_that_is_none_of_the_provider_s_business_stays_here(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, name: str
) -> None:
    script[case] = whole(case)
    assert ask(shared.port, case, ASKED, (name, "Basic mallory-canary")).status == 200
    (seen,) = provider.seen[case]
    assert [pair for pair in seen.headers if "mallory" in pair[1]] == []
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    assert seen.all("x-ai-bridge-actor-id") == [ACTOR]


def test_everything_else_passes_as_it_was_sent(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """What the provider gets: what the client sent, our few words, and no more."""
    script[case] = whole(case)
    sent = (
        ("openai-beta", "responses=v1"),
        ("openai-beta", "tools=v2"),
        ("x-request-id", "not-a-uuid"),
        ("x-stainless-arch", "caf\xe9"),
        ("x-empty", ""),
        ("accept", "text/event-stream"),
        ("accept-encoding", "gzip, br"),
        ("x-ai-bridge-actor-id", "mallory"),
    )
    ask(shared.port, case, ASKED, *sent)
    (seen,) = provider.seen[case]
    assert sorted((name.lower(), value) for name, value in seen.headers) == sorted([
        ("host", provider.url.removeprefix("http://")),
        ("user-agent", "codex_cli_rs/0.99"),
        ("content-type", "application/json"),
        ("content-length", str(len(ASKED))),
        ("session_id", case),
        ("x-case", case),
        ("openai-beta", "responses=v1"),
        ("openai-beta", "tools=v2"),
        ("x-request-id", "not-a-uuid"),
        ("x-stainless-arch", "caf\xe9"),
        ("x-empty", ""),
        ("accept", "text/event-stream"),
        ("accept-encoding", "identity"),
        ("authorization", f"Bearer {CENTRAL_KEY}"),
        ("x-ai-bridge-actor-id", ACTOR),
    ])  # fmt: skip
    assert shared.session(case).interception["request_id"] == "not-a-uuid"


@pytest.mark.parametrize(
    "twice",
    [
        (("x-forwarded-user", "mallory"), ("x-forwarded-user", ACTOR)),
        (("x-forwarded-user", ACTOR), ("X-Forwarded-User", ACTOR)),
        (("x_forwarded_user", ACTOR), ("x-forwarded-user", "")),
    ],
)
def test_who_asks_must_be_said_once(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, twice: tuple[tuple[str, str], ...]
) -> None:
    script[case] = whole(case)
    assert ask(shared.port, case, ASKED, *twice).status == 400
    assert case not in provider.seen
    assert shared.sessions(case) == []
