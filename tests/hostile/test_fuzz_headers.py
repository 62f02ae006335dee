"""Header blocks of any bytes through the real gRPC server: what they make the sidecar say of headers is sound."""

import re

from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.ext_proc.v3.external_processor_pb2 import HttpHeaders, ProcessingRequest, ProcessingResponse
from grpc import StatusCode
from hypothesis import example, given
from hypothesis import strategies as st

from tests.contract import peer
from tests.hostile.damage import HALF
from tests.hostile.serving import Serving

KNOWN = [
    ":method", ":path", ":authority", ":status", "authorization", "Authorization", "x-forwarded-user",
    "x_forwarded_user", "content-type", "content-encoding", "content-length", "cookie", "user-agent", "session_id",
    "x-request-id", "x-ai-bridge-actor-id", "x-ai-bridge-actor-metadata-a", "transfer-encoding", "host", "x-api-key",
    "originator",     "x-claude-code-session-id", "traceparent", "baggage", "",
]  # fmt: skip
TELLING = [
    b"", b" ", b"POST", b"/openai/v1/responses", b"/openai/v1/models", b"Bearer k", b"Bearer a b", b"Bearer \r\nx: y",
    b"Bearer a\0b", b"bearer\tk", b"\r\nx-evil: 1", b"\0", b"\xff\xfe", b"gzip", b"gzip,,br",
    b"application/json; charset=utf-16",
    b"99999999999999999999", b"-1", b"alice\nbob", b"\x1b[2J", "\u202e\U0001f600".encode(), b"x" * 70_000,
    b"claude", b"codex",
]  # fmt: skip
PAIRS = st.lists(
    st.tuples(
        st.sampled_from(KNOWN) | st.text(st.characters(codec="utf-8"), max_size=12),
        st.sampled_from(TELLING) | st.binary(max_size=20),
    ),
    max_size=8,
)
POST = [(name, value.encode()) for name, value in peer.POST]
BODY = peer.request_body(b'{"model":"m","input":"hi"}').SerializeToString()
_LINE = re.compile(rb"[\r\n]")


def block(pairs: list[tuple[str, bytes]]) -> HttpHeaders:
    return HttpHeaders(headers=HeaderMap(headers=[HeaderValue(key=key, raw_value=value) for key, value in pairs]))


@HALF
@given(pairs=PAIRS, is_usual=st.booleans(), where=st.booleans())
@example(pairs=[("authorization", b"Bearer a\r\nx-evil: 1")], is_usual=True, where=True)
@example(pairs=[("x-forwarded-user", "\u2028\r\n\0é".encode())], is_usual=False, where=True)
def test_any_request_headers_are_judged_and_make_no_line_of_their_own(
    serves: Serving,
    pairs: list[tuple[str, bytes]],
    is_usual: bool,  # noqa: FBT001 - drawn
    where: bool,  # noqa: FBT001 - drawn
) -> None:
    """What is set is set once and without a line end; what is removed was there, and is neither Envoy's nor set."""
    usual = [pair for pair in POST if is_usual or pair[0] not in {name.lower() for name, _ in pairs}]
    asked = [*pairs, *usual] if where else [*usual, *pairs]
    heard = serves.play(ProcessingRequest(request_headers=block(asked)).SerializeToString(), BODY)
    assert heard.code is StatusCode.OK
    assert serves.left() == (0, 0, 0)
    for reply in map(ProcessingResponse.FromString, heard.replies):
        sound(reply, {name.lower() for name, _ in asked})


def sound(reply: ProcessingResponse, sent: set[str]) -> None:
    part = reply.request_headers if reply.HasField("request_headers") else reply.request_body
    changed = part.response.header_mutation
    names = [option.header.key for option in changed.set_headers]
    assert len(set(names)) == len(names)
    assert not [option for option in changed.set_headers if _LINE.search(option.header.raw_value)]
    assert not set(changed.remove_headers) & {*names, "host", "content-length", "transfer-encoding"}
    assert set(changed.remove_headers) <= sent
    assert not [name for name in (*names, *changed.remove_headers) if name.startswith(":")]


@HALF
@given(pairs=PAIRS, is_usual=st.booleans())
def test_any_response_headers_pass_and_their_interception_ends(
    serves: Serving,
    pairs: list[tuple[str, bytes]],
    is_usual: bool,  # noqa: FBT001 - drawn
) -> None:
    usual = [(name, value.encode()) for name, value in peer.EVENTS] if is_usual else []
    before = len(serves.worker.ends())
    heard = serves.play(
        ProcessingRequest(request_headers=block(POST)).SerializeToString(),
        BODY,
        ProcessingRequest(response_headers=block([*usual, *pairs])).SerializeToString(),
        peer.response_body(b"{}", end=True).SerializeToString(),
    )
    assert heard.code is StatusCode.OK
    assert heard.kinds() == ["request_headers", "request_body", "response_headers", "response_body"]
    assert serves.left() == (0, 0, 0)
    assert len(serves.worker.ends()) == before + 1
