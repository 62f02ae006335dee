"""The other implementation of the protocol, playing Envoy: envoy-data-plane's messages over a real channel.

What the server answers is kept as bytes and read with envoy-data-plane, which knows nothing of the `envoy` package.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from envoy_data_plane.envoy.config.core.v3 import (
    HeaderMap,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
    StreamedBodyResponse,
    TrailersResponse,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Struct
from grpc import aio

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
ATTRIBUTES = "envoy.filters.http.ext_proc"
PATIENCE = 30.0  # seconds: far longer than anything the server may take, on whatever machine

Mode = ProcessingModeBodySendMode
Pairs = tuple[tuple[str, str], ...]

POST: Pairs = (
    (":method", "POST"),
    (":path", "/openai/v1/responses"),
    (":authority", "127.0.0.1:10000"),
    (":scheme", "http"),
    ("x-forwarded-user", "alice"),
    ("content-type", "application/json"),
    ("x-request-id", "5f1c3f3a-0000-4000-8000-000000000001"),
)
OK: Pairs = ((":status", "200"), ("content-type", "application/json"))
EVENTS: Pairs = ((":status", "200"), ("content-type", "text/event-stream"))


# What Envoy says


def request_headers(
    pairs: Pairs = POST,
    *more: tuple[str, str],
    end: bool = False,
    spelling: str = "raw_value",
    modes: tuple[Mode, Mode] | None = None,
) -> ProcessingRequest:
    """`modes`: the proxy's for the two bodies, as it tells them in a stream's first message."""
    told = ProtocolConfiguration(request_body_mode=modes[0], response_body_mode=modes[1]) if modes else None
    return ProcessingRequest(request_headers=block((*pairs, *more), end=end, spelling=spelling), protocol_config=told)


def request_body(body: bytes, *, end: bool = True) -> ProcessingRequest:
    return ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=end))


def request_trailers() -> ProcessingRequest:
    return ProcessingRequest(request_trailers=HttpTrailers(trailers=HeaderMap()))


def response_headers(
    pairs: Pairs = OK, *more: tuple[str, str], end: bool = False, details: str = "via_upstream"
) -> ProcessingRequest:
    """`details`: how Envoy came by this response; `via_upstream` is the provider's own."""
    attributes = {
        ATTRIBUTES: Struct.from_dict({"response.code_details": details, "upstream.request_attempt_count": 1.0})
    }
    return ProcessingRequest(response_headers=block((*pairs, *more), end=end), attributes=attributes)


def response_body(body: bytes, *, end: bool = False) -> ProcessingRequest:
    return ProcessingRequest(response_body=HttpBody(body=body, end_of_stream=end))


def response_trailers() -> ProcessingRequest:
    return ProcessingRequest(response_trailers=HttpTrailers(trailers=HeaderMap()))


def block(pairs: Pairs, *, end: bool = False, spelling: str = "raw_value") -> HttpHeaders:
    values = [
        HeaderValue(key=name, **{spelling: text.encode() if spelling == "raw_value" else text}) for name, text in pairs
    ]
    return HttpHeaders(headers=HeaderMap(headers=values), end_of_stream=end)


# What it is told


def mutated(set_: Pairs, remove: tuple[str, ...]) -> CommonResponse:
    """The change to the request's headers, in full."""
    overwrite = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    options = [
        HeaderValueOption(header=HeaderValue(key=name, raw_value=text.encode()), append_action=overwrite)
        for name, text in set_
    ]
    return CommonResponse(header_mutation=HeaderMutation(set_headers=options, remove_headers=list(remove)))


def noted(**notes: str) -> Struct:
    """The dynamic metadata."""
    return Struct.from_dict({"aibridge.verdict": dict(notes)})


def passed_at_body(set_: Pairs, remove: tuple[str, ...], **notes: str) -> ProcessingResponse:
    return ProcessingResponse(
        request_body=BodyResponse(response=mutated(set_, remove)), dynamic_metadata=noted(decision="allow", **notes)
    )


def passed_at_headers(
    set_: Pairs, remove: tuple[str, ...], *, mode: ProcessingMode | None = None, **notes: str
) -> ProcessingResponse:
    return ProcessingResponse(
        request_headers=HeadersResponse(response=mutated(set_, remove)),
        dynamic_metadata=noted(decision="allow", **notes),
        mode_override=mode,
    )


def refused(status: int, body: bytes, headers: Pairs, notes: Struct | None = None) -> ProcessingResponse:
    answer = ImmediateResponse(
        status=HttpStatus(code=StatusCode(status)),
        headers=mutated(headers, ()).header_mutation,
        body=body,
        details="aibridge_refused",
    )
    return ProcessingResponse(immediate_response=answer, dynamic_metadata=notes)


def request_echo(data: bytes, *, end: bool) -> ProcessingResponse:
    return ProcessingResponse(request_body=echoed(data, end=end))


def response_echo(data: bytes, *, end: bool) -> ProcessingResponse:
    return ProcessingResponse(response_body=echoed(data, end=end))


def echoed(data: bytes, *, end: bool) -> BodyResponse:
    chunk = StreamedBodyResponse(body=data, end_of_stream=end)
    return BodyResponse(response=CommonResponse(body_mutation=BodyMutation(streamed_response=chunk)))


HEADERS_SEEN = ProcessingResponse(request_headers=HeadersResponse())
BODY_SEEN = ProcessingResponse(request_body=BodyResponse())
TRAILERS_SEEN = ProcessingResponse(request_trailers=TrailersResponse())
ANSWER_HEADERS_SEEN = ProcessingResponse(response_headers=HeadersResponse())
ANSWER_BODY_SEEN = ProcessingResponse(response_body=BodyResponse())
ANSWER_TRAILERS_SEEN = ProcessingResponse(response_trailers=TrailersResponse())
# As the bootstrap's `allowed_override_modes` has it: Envoy compares the whole.
HEADERS_ALONE = ProcessingMode(
    request_header_mode=ProcessingModeHeaderSendMode.SEND,
    response_header_mode=ProcessingModeHeaderSendMode.SEND,
    request_body_mode=Mode.NONE,
    response_body_mode=Mode.NONE,
    request_trailer_mode=ProcessingModeHeaderSendMode.SKIP,
    response_trailer_mode=ProcessingModeHeaderSendMode.SKIP,
)


class Talk:
    """One stream. A message is answered before the next is sent, as Envoy's are, unless a test has it otherwise."""

    def __init__(self, call: "aio.StreamStreamCall[ProcessingRequest, bytes]") -> None:
        self.call = call
        self.heard: list[bytes] = []

    async def tell(self, *messages: ProcessingRequest) -> None:
        """Say without waiting for an answer."""
        async with asyncio.timeout(PATIENCE):
            for message in messages:
                await self.call.write(message)

    async def hear(self, count: int = 1) -> list[ProcessingResponse]:
        """The next `count` replies."""
        return [ProcessingResponse.parse(data) for data in await self.bytes(count)]

    async def bytes(self, count: int = 1) -> list[bytes]:
        """The next `count` replies as they came; fewer when the stream ends before."""
        heard: list[bytes] = []
        async with asyncio.timeout(PATIENCE):
            while len(heard) < count and (data := await self.call.read()) is not aio.EOF:
                heard.append(data)
        self.heard += heard
        return heard

    async def ask(self, *messages: ProcessingRequest) -> list[ProcessingResponse]:
        """The reply to each."""
        replies = []
        for message in messages:
            await self.tell(message)
            replies += await self.hear()
        return replies

    async def end(self) -> list[ProcessingResponse]:
        """Half-close; what was still said until the server closed, too. The stream must have gone well."""
        async with asyncio.timeout(PATIENCE):
            await self.call.done_writing()
            said = []
            while (data := await self.call.read()) is not aio.EOF:
                said.append(ProcessingResponse.parse(data))
            status = await self.call.code()
        assert status.name == "OK"
        return said


@asynccontextmanager
async def channel(target: str) -> AsyncIterator[aio.Channel]:
    unlimited = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with aio.insecure_channel(target, options=unlimited) as opened:
        yield opened


def talk(over: aio.Channel, metadata: Iterable[tuple[str, str]] = ()) -> Talk:
    """A new stream; replies stay bytes."""
    method = over.stream_stream(METHOD, request_serializer=bytes, response_deserializer=None)
    return Talk(method(metadata=tuple(metadata)))
