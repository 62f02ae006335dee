"""Envoy's messages (envoy.service.ext_proc.v3) to core values and back. Nothing else of a worker knows these."""

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Final

from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValueOption, Metadata
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    HttpBody,
    ProcessingRequest,
    ProcessingResponse,
    StreamedBodyResponse,
    TrailersResponse,
)
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from pydantic import SecretStr

from sidecar.core.errors import OutOfOrder
from sidecar.core.events import NOTHING, Body, Headers, Side, Told, Trailers
from sidecar.core.identity import CLAIMS, JWT_FILTER
from sidecar.core.replies import DECISION, DETAILS, NAMESPACE, Ack, Echo, Forward, Observe, Part, Refuse, Reply

_LONGEST_CHUNK = 4096  # bytes of a message that is looked at before it is parsed; a delta has some hundred
_LONGEST_HEAD = 6  # two tags, two lengths
# Envoy sets it in every message (ext_proc.cc), and it comes last.
_NO_METADATA = ProcessingRequest(metadata_context=Metadata()).SerializeToString()
_TAIL = len(_NO_METADATA)
_ATTRIBUTES = "envoy.filters.http.ext_proc"
# Compared by Envoy with `allowed_override_modes` as a whole: every field stands on both sides.
_HEADERS_ALONE = ProcessingMode(
    request_header_mode=ProcessingMode.SEND,
    request_body_mode=ProcessingMode.NONE,
    request_trailer_mode=ProcessingMode.SKIP,
    response_header_mode=ProcessingMode.SEND,
    response_body_mode=ProcessingMode.NONE,
    response_trailer_mode=ProcessingMode.SKIP,
)

Message = ProcessingRequest
_KINDS: dict[str, tuple[type[Told], Side]] = {
    f"{side.value}_{name}": (kind, side)
    for side in Side
    for name, kind in (("headers", Headers), ("body", Body), ("trailers", Trailers))
}
Malformed = DecodeError
parse: Final[Callable[[bytes], ProcessingRequest]] = ProcessingRequest.FromString  # raises Malformed


def decode(message: ProcessingRequest, at: float) -> Told:
    """Return what `message` tells. Raises OutOfOrder for one that tells nothing we know."""
    told = message.WhichOneof("request")
    if told is None:
        msg = "a message of an unknown kind"
        raise OutOfOrder(msg)
    kind, side = _KINDS[told]
    part = getattr(message, told)
    if kind is Body:
        return Body(side=side, at=at, data=part.body, end=part.end_of_stream)
    if kind is Trailers:
        return Trailers(side=side, at=at)
    return Headers(
        side=side,
        at=at,
        pairs=_pairs(part.headers),
        end=part.end_of_stream,
        attributes=_attributes(message),
        claims=_claims(message),
    )


def chunk(data: bytes) -> bytes | None:
    """Return the bytes of a response's chunk, where `data` is such a message as Envoy sends it; None of any other."""
    size = len(data)
    if size > _LONGEST_CHUNK or not data.endswith(_NO_METADATA):
        return None
    head = _chunk_head(size - _TAIL)
    return data[len(head) : -_TAIL] if head is not None and data.startswith(head) else None


@lru_cache(maxsize=_LONGEST_CHUNK)
def _chunk_head(total: int) -> bytes | None:
    """What `total` bytes begin with that are a response's chunk and nothing else; None where there is none."""
    for size in range(max(0, total - _LONGEST_HEAD), total):
        message = ProcessingRequest(response_body=HttpBody(body=bytes(size))).SerializeToString()
        if size and len(message) == total:
            return message[:-size]
    return None


def phase(message: ProcessingRequest) -> str:
    """What `message` is about, in Envoy's own word: `request_headers`, say."""
    return message.WhichOneof("request") or "unknown"


def is_response(message: ProcessingRequest) -> bool:
    """Whether `message` is about the response: by then the request has had its verdict."""
    return (message.WhichOneof("request") or "").startswith("response")


def duplex(message: ProcessingRequest) -> frozenset[Side]:
    """Return the sides whose bodies come FULL_DUPLEX_STREAMED, as a stream's first message tells."""
    told = message.protocol_config
    modes = {Side.REQUEST: told.request_body_mode, Side.RESPONSE: told.response_body_mode}
    return frozenset(side for side, mode in modes.items() if mode == ProcessingMode.FULL_DUPLEX_STREAMED)


def shows_bodies(message: ProcessingRequest) -> bool:
    """Whether a stream's first message promises whole request bodies before anything leaves, or promises nothing.

    In observability mode nobody waits for a verdict.
    """
    if message.observability_mode:
        return False
    mode = message.protocol_config.request_body_mode
    is_whole = mode in {ProcessingMode.BUFFERED, ProcessingMode.FULL_DUPLEX_STREAMED}
    return is_whole or not message.HasField("protocol_config")


def encode(reply: Reply, *, verdict: str, duplex: Collection[Side] = ()) -> bytes:
    """Return `reply` as Envoy reads it. `verdict`: the metadata value that lets a request through RBAC."""
    match reply:
        case Ack():
            return _ACKS[reply.side, reply.part]
        case Echo():
            return _echo(reply)
        case Refuse():
            return _refusal(reply).SerializeToString(deterministic=True)  # of a map's order, which differs by process
    return _verdict(reply, verdict, duplex=duplex).SerializeToString(deterministic=True)


def acknowledged(message: ProcessingRequest, *, duplex: Collection[Side]) -> bytes:
    """Return the reply to `message` that changes nothing, whatever the message is."""
    try:
        event = decode(message, 0.0)
    except OutOfOrder:
        return b""
    if isinstance(event, Body) and event.side in duplex:
        return _echo(Echo(side=event.side, data=event.data, end=event.end))
    return _ACKS[event.side, Part(type(event).__name__.lower())]


def _pairs(headers: HeaderMap) -> tuple[tuple[str, str], ...]:
    # `raw_value` is what Envoy sends; `value`, and a name's own case, are what other proxies may use.
    return tuple(
        [
            (header.key.lower(), header.raw_value.decode("utf-8", "surrogateescape") or header.value)
            for header in headers.headers
        ]
    )


def _attributes(message: ProcessingRequest) -> Mapping[str, str]:
    if _ATTRIBUTES not in message.attributes:
        return NOTHING
    fields = message.attributes[_ATTRIBUTES].fields
    return {name: value.string_value for name, value in fields.items() if value.WhichOneof("kind") == "string_value"}


def _claims(message: ProcessingRequest) -> Mapping[str, object]:
    found = message.metadata_context.filter_metadata
    if JWT_FILTER not in found or CLAIMS not in (fields := found[JWT_FILTER].fields):
        return {}
    return MessageToDict(fields[CLAIMS].struct_value)


def _verdict(reply: Forward, verdict: str, *, duplex: Collection[Side]) -> ProcessingResponse:
    # Built in place, not put together: half the time, and there is one for each request.
    told = ProcessingResponse()
    part = told.request_body if reply.part is Part.BODY else told.request_headers
    changed = part.response.header_mutation
    changed.SetInParent()  # even if there is nothing to change
    _set(changed, reply.set)
    changed.remove_headers.extend(reply.remove)
    _note(told, {DECISION: verdict, **reply.notes})
    # A duplex proxy cannot be told to send less.
    if reply.observe is Observe.HEADERS and not duplex:
        told.mode_override.CopyFrom(_HEADERS_ALONE)
    return told


def _refusal(reply: Refuse) -> ProcessingResponse:
    told = ProcessingResponse()
    answer = told.immediate_response
    answer.status.code = reply.status  # an open enum: any status there is
    answer.body = reply.body
    answer.details = DETAILS
    _set(answer.headers, reply.headers)
    if reply.notes:
        _note(told, reply.notes)
    return told


def _set(changed: HeaderMutation, pairs: tuple[tuple[str, str | SecretStr], ...]) -> None:
    for name, value in pairs:
        header = changed.set_headers.add(append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD).header
        header.key = name
        header.raw_value = _revealed(value).encode("utf-8", "surrogateescape")


def _revealed(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _note(told: ProcessingResponse, notes: Mapping[str, str]) -> None:
    noted = told.dynamic_metadata.fields[NAMESPACE].struct_value.fields
    for name, value in notes.items():
        noted[name].string_value = value


def _echo(reply: Echo) -> bytes:
    chunk = StreamedBodyResponse(body=reply.data, end_of_stream=reply.end)
    body = BodyResponse(response=CommonResponse(body_mutation=BodyMutation(streamed_response=chunk)))
    if reply.side is Side.REQUEST:
        return ProcessingResponse(request_body=body).SerializeToString()
    return ProcessingResponse(response_body=body).SerializeToString()


_ACKS: Final = {
    (side, part): ProcessingResponse(**{f"{side.value}_{part.value}": message()}).SerializeToString()
    for side in Side
    for part, message in (
        (Part.HEADERS, HeadersResponse),
        (Part.BODY, BodyResponse),
        (Part.TRAILERS, TrailersResponse),
    )
}
CHUNK_ACK: Final[bytes] = _ACKS[Side.RESPONSE, Part.BODY]
