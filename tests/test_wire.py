"""Against the messages that the server itself uses; another implementation judges in `contract/`."""

import subprocess
import sys

import pytest
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue, Metadata
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from sidecar import wire
from sidecar.core.errors import OutOfOrder
from sidecar.core.events import Body, Headers, Side, Trailers
from sidecar.core.replies import Ack, Echo, Forward, Observe, Part, Refuse, Reply

FULL, STREAMED, BUFFERED = ProcessingMode.FULL_DUPLEX_STREAMED, ProcessingMode.STREAMED, ProcessingMode.BUFFERED


def told(reply: bytes) -> dict[str, object]:
    return MessageToDict(ProcessingResponse.FromString(reply), preserving_proto_field_name=True)


def encoded(reply: Reply) -> dict[str, object]:
    return told(wire.encode(reply, verdict="allow"))


def block(*headers: HeaderValue, end: bool = False) -> HttpHeaders:
    return HttpHeaders(headers=HeaderMap(headers=headers), end_of_stream=end)


def attributes(name: str = "envoy.filters.http.ext_proc") -> dict[str, Struct]:
    fields = Struct()
    fields.update({"response.code_details": "via_upstream", "upstream.request_attempt_count": 1, "odd": None})
    return {name: fields}


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (
            ProcessingRequest(request_headers=block(HeaderValue(key="a", raw_value=b"1"), end=True)),
            Headers(side=Side.REQUEST, at=7.0, pairs=(("a", "1"),), end=True),
        ),
        (
            ProcessingRequest(response_headers=block(HeaderValue(key="a", value="1")), attributes=attributes()),
            Headers(
                side=Side.RESPONSE,
                at=7.0,
                pairs=(("a", "1"),),
                attributes={"response.code_details": "via_upstream"},
            ),
        ),
        (
            ProcessingRequest(request_body=HttpBody(body=b"x", end_of_stream=True)),
            Body(side=Side.REQUEST, at=7.0, data=b"x", end=True),
        ),
        (ProcessingRequest(response_body=HttpBody(body=b"\xff")), Body(side=Side.RESPONSE, at=7.0, data=b"\xff")),
        (ProcessingRequest(request_trailers=HttpTrailers()), Trailers(side=Side.REQUEST, at=7.0)),
        (ProcessingRequest(response_trailers=HttpTrailers()), Trailers(side=Side.RESPONSE, at=7.0)),
    ],
)
def test_each_message_is_an_event(message: ProcessingRequest, event: object) -> None:
    assert wire.decode(wire.parse(message.SerializeToString()), 7.0) == event


def forwarded(namespace: str, key: str) -> Metadata:
    """What another filter has found, as Envoy hands it on."""
    found = Metadata()
    payload = {"sub": "grace", "groups": ["a", {"b": None}], "level": 7, "admin": True, "none": None}
    found.filter_metadata[namespace].update({key: payload})
    return found


def test_a_token_s_claims_come_with_the_headers() -> None:
    message = ProcessingRequest(
        request_headers=block(), metadata_context=forwarded("envoy.filters.http.jwt_authn", "aibridge")
    )
    event = wire.decode(wire.parse(message.SerializeToString()), 7.0)
    assert isinstance(event, Headers)
    assert event.claims == {"sub": "grace", "groups": ["a", {"b": None}], "level": 7.0, "admin": True, "none": None}
    assert "grace" not in f"{event!r} {event.__rich_repr__()}"


@pytest.mark.parametrize(
    ("namespace", "key"),
    [("envoy.filters.http.jwt_authn", "payload"), ("envoy.filters.http.other", "aibridge")],
)
def test_what_another_filter_says_is_no_claim(namespace: str, key: str) -> None:
    event = wire.decode(ProcessingRequest(request_headers=block(), metadata_context=forwarded(namespace, key)), 7.0)
    assert isinstance(event, Headers)
    assert event.claims == {}


def test_claims_that_are_no_table_are_none() -> None:
    found = Metadata()
    found.filter_metadata["envoy.filters.http.jwt_authn"].update({"aibridge": "grace"})
    event = wire.decode(ProcessingRequest(request_headers=block(), metadata_context=found), 7.0)
    assert isinstance(event, Headers)
    assert event.claims == {}


EMPTY = Metadata()


@given(body=st.binary(max_size=300), end=st.booleans())
@example(body=b"x" * 127, end=False)
@example(body=b"x" * 128, end=False)
@example(body=b"x" * 4090, end=False)
@example(body=b"", end=False)
def test_a_chunk_is_seen_without_parsing(body: bytes, end: bool) -> None:  # noqa: FBT001 - drawn
    """As Envoy sends it: with an empty `metadata_context`."""
    message = ProcessingRequest(response_body=HttpBody(body=body, end_of_stream=end), metadata_context=EMPTY)
    seen = wire.chunk(message.SerializeToString())
    assert seen == (body if body and not end and len(body) < 4000 else None)


@given(data=st.binary(max_size=20).map(lambda rest: b"*" + rest) | st.binary(max_size=20))
@example(data=b"*\x05\n\x03abcB\x00")
@example(data=b"*\x05\n\x01abcB\x00")
def test_what_is_seen_as_a_chunk_is_one(data: bytes) -> None:
    if (body := wire.chunk(data)) is not None:
        assert wire.parse(data) == ProcessingRequest(response_body=HttpBody(body=body), metadata_context=EMPTY)


@pytest.mark.parametrize(
    "message",
    [
        ProcessingRequest(request_body=HttpBody(body=b"x"), metadata_context=EMPTY),
        ProcessingRequest(response_body=HttpBody(body=b"x"), metadata_context=EMPTY, observability_mode=True),
        ProcessingRequest(response_body=HttpBody(body=b"x"), attributes=attributes("other"), metadata_context=EMPTY),
        ProcessingRequest(response_body=HttpBody(body=b"x")),
        ProcessingRequest(response_body=HttpBody(body=b"x" * 5000), metadata_context=EMPTY),
    ],
)
def test_what_says_more_than_a_chunk_is_parsed(message: ProcessingRequest) -> None:
    assert wire.chunk(message.SerializeToString()) is None


def test_a_message_of_no_kind_is_out_of_order() -> None:
    with pytest.raises(OutOfOrder, match=r"^a message of an unknown kind$"):
        wire.decode(ProcessingRequest(), 7.0)


def test_attributes_of_another_filter_are_not_ours() -> None:
    message = ProcessingRequest(response_headers=block(), attributes=attributes("other"))
    event = wire.decode(message, 7.0)
    assert isinstance(event, Headers)
    assert dict(event.attributes) == {}


def test_the_raw_value_comes_first() -> None:
    """Both are set by no proxy; which would count is settled all the same."""
    message = ProcessingRequest(request_headers=block(HeaderValue(key="a", value="text", raw_value=b"raw")))
    event = wire.decode(message, 7.0)
    assert isinstance(event, Headers)
    assert event.pairs == (("a", "raw"),)


@given(value=st.binary(min_size=1))
def test_whatever_bytes_a_header_has_it_goes_back_with(value: bytes) -> None:
    """A client's own key is passed on as it came."""
    event = wire.decode(ProcessingRequest(request_headers=block(HeaderValue(key="a", raw_value=value))), 7.0)
    assert isinstance(event, Headers)
    forward = Forward(part=Part.BODY, set=event.pairs, remove=())
    message = ProcessingResponse.FromString(wire.encode(forward, verdict="allow"))
    [option] = message.request_body.response.header_mutation.set_headers
    assert (option.header.key, option.header.raw_value, option.header.value) == ("a", value, "")


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("part", Part)
def test_an_acknowledgement_is_the_empty_answer_to_its_message(side: Side, part: Part) -> None:
    assert encoded(Ack(side=side, part=part)) == {f"{side.value}_{part.value}": {}}


@pytest.mark.parametrize("side", Side)
def test_an_echo_gives_the_chunk_back(side: Side) -> None:
    chunk = {"body": "eA==", "end_of_stream": True}
    assert encoded(Echo(side=side, data=b"x", end=True)) == {
        f"{side.value}_body": {"response": {"body_mutation": {"streamed_response": chunk}}}
    }


def test_a_verdict_sets_removes_and_notes() -> None:
    forward = Forward(
        part=Part.BODY,
        set=(("accept-encoding", "identity"), ("authorization", SecretStr("Bearer k"))),
        remove=("cookie", "x-api-key"),
        notes={"actor": "alice", "interception": "i-1"},
    )
    option = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    assert encoded(forward) == {
        "request_body": {
            "response": {
                "header_mutation": {
                    "set_headers": [
                        {"header": {"key": "accept-encoding", "raw_value": "aWRlbnRpdHk="}, **option},
                        {"header": {"key": "authorization", "raw_value": "QmVhcmVyIGs="}, **option},
                    ],
                    "remove_headers": ["cookie", "x-api-key"],
                }
            }
        },
        "dynamic_metadata": {"aibridge.verdict": {"decision": "allow", "actor": "alice", "interception": "i-1"}},
    }


def test_a_note_is_not_the_verdict() -> None:
    """Who may choose a note's text may not choose what RBAC lets through."""
    forward = Forward(part=Part.BODY, set=(), remove=(), notes={"actor": "decision"})
    assert encoded(forward)["dynamic_metadata"] == {"aibridge.verdict": {"decision": "allow", "actor": "decision"}}


HEADERS_ALONE = {"request_header_mode": "SEND", "response_header_mode": "SEND"}
SKIPPED = {"request_trailer_mode": "SKIP", "response_trailer_mode": "SKIP"}


def test_the_bodies_of_a_passthrough_are_not_asked_for() -> None:
    """Every field is there, since Envoy compares them all; NONE is the bodies' zero."""
    forward = Forward(part=Part.HEADERS, set=(), remove=(), observe=Observe.HEADERS)
    assert encoded(forward)["mode_override"] == HEADERS_ALONE | SKIPPED


def test_who_gives_bodies_away_cannot_be_told_to_send_less() -> None:
    forward = Forward(part=Part.HEADERS, set=(), remove=(), observe=Observe.HEADERS)
    assert "mode_override" not in told(wire.encode(forward, verdict="allow", duplex=frozenset(Side)))


def test_a_verdict_at_the_headers_may_ask_for_everything() -> None:
    assert "mode_override" not in encoded(Forward(part=Part.HEADERS, set=(), remove=()))


def test_a_refusal_is_an_immediate_response() -> None:
    refuse = Refuse(status=501, body=b"no", headers=(("content-type", "text/plain"),), notes={"actor": "alice"})
    assert encoded(refuse) == {
        "immediate_response": {
            "status": {"code": "NotImplemented"},
            "headers": {
                "set_headers": [
                    {
                        "header": {"key": "content-type", "raw_value": "dGV4dC9wbGFpbg=="},
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    }
                ]
            },
            "body": "bm8=",
            "details": "aibridge_refused",
        },
        "dynamic_metadata": {"aibridge.verdict": {"actor": "alice"}},
    }


def test_a_refusal_never_holds_the_verdict() -> None:
    refuse = Refuse(status=400, body=b"", notes={"actor": "alice"})
    assert b"s3cret" not in wire.encode(refuse, verdict="s3cret")


def test_a_status_that_has_no_name_is_told_all_the_same() -> None:
    message = ProcessingResponse.FromString(wire.encode(Refuse(status=415, body=b""), verdict="allow"))
    assert message.immediate_response.status.code == 415
    assert not message.HasField("dynamic_metadata")


PROGRAM = """
from sidecar import wire
from sidecar.core.replies import Forward, Part
notes = {"actor": "alice", "interception": "i-1", "more": "x"}
print(wire.encode(Forward(part=Part.BODY, set=(), remove=(), notes=notes), verdict="allow").hex())
"""


def test_every_process_says_the_same_in_the_same_bytes() -> None:
    """A map's order differs by process; one answer's bytes shall not."""
    said = {subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True).stdout for _ in range(5)}
    assert len(said) == 1


# What a stream's first message tells of the proxy


@pytest.mark.parametrize(
    ("request_mode", "response_mode", "expected"),
    [
        (BUFFERED, STREAMED, frozenset()),
        (FULL, FULL, frozenset(Side)),
        (FULL, STREAMED, frozenset({Side.REQUEST})),
        (BUFFERED, FULL, frozenset({Side.RESPONSE})),
    ],
)
def test_the_sides_that_are_given_away(request_mode: int, response_mode: int, expected: frozenset[Side]) -> None:
    config = ProtocolConfiguration(request_body_mode=request_mode, response_body_mode=response_mode)
    assert wire.duplex(ProcessingRequest(request_headers=block(), protocol_config=config)) == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (ProcessingMode.NONE, False),
        (ProcessingMode.STREAMED, False),
        (ProcessingMode.BUFFERED, True),
        (ProcessingMode.BUFFERED_PARTIAL, False),
        (ProcessingMode.FULL_DUPLEX_STREAMED, True),
        (99, False),
    ],
)
def test_only_a_whole_body_can_be_judged(mode: int, *, expected: bool) -> None:
    config = ProtocolConfiguration(request_body_mode=mode)
    assert wire.shows_bodies(ProcessingRequest(protocol_config=config)) is expected


def test_a_proxy_that_says_nothing_of_itself_is_believed() -> None:
    """Older Envoys do not; the bootstrap that we render says BUFFERED."""
    assert wire.shows_bodies(ProcessingRequest(request_headers=block()))
    assert wire.duplex(ProcessingRequest(request_headers=block())) == frozenset()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ProcessingRequest(), False),
        (ProcessingRequest(request_headers=block()), False),
        (ProcessingRequest(request_body=HttpBody()), False),
        (ProcessingRequest(response_headers=block()), True),
        (ProcessingRequest(response_trailers=HttpTrailers()), True),
    ],
)
def test_what_is_about_the_response(message: ProcessingRequest, *, expected: bool) -> None:
    assert wire.is_response(message) is expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ProcessingRequest(request_headers=block()), {"request_headers": {}}),
        (ProcessingRequest(request_trailers=HttpTrailers()), {"request_trailers": {}}),
        (ProcessingRequest(request_body=HttpBody(body=b"x")), {"request_body": {}}),
        (
            ProcessingRequest(response_body=HttpBody(body=b"x", end_of_stream=True)),
            {
                "response_body": {
                    "response": {"body_mutation": {"streamed_response": {"body": "eA==", "end_of_stream": True}}}
                }
            },
        ),
        (ProcessingRequest(), {}),
    ],
)
def test_any_message_can_be_answered_without_changing_anything(
    message: ProcessingRequest, expected: dict[str, object]
) -> None:
    assert told(wire.acknowledged(message, duplex=frozenset({Side.RESPONSE}))) == expected


def test_in_observability_mode_nobody_waits_for_a_verdict() -> None:
    """What cannot be stopped must not look as if it had been judged."""
    assert not wire.shows_bodies(ProcessingRequest(observability_mode=True))


def test_names_are_lower_case_whoever_sends_them() -> None:
    """Envoy lower-cases; a credential under another proxy's `Authorization` must not escape its removal."""
    headers = HeaderMap(headers=[HeaderValue(key="Authorization", raw_value=b"x")])
    event = wire.decode(ProcessingRequest(request_headers=HttpHeaders(headers=headers)), 0.0)
    assert isinstance(event, Headers)
    assert event.pairs == (("authorization", "x"),)
