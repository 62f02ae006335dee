"""From spans to the bytes of OTLP: an `ExportTraceServiceRequest` (OTLP specification 1.x, binary Protobuf).

xds-protos brings the messages along, from a time when a scope was called an instrumentation library;
opentelemetry-proto has the same files with the later names, and which of the two lies on the disk depends on the order
of installation. The fields' numbers never changed, so what was renamed is found by its number.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode, TraceState

SCOPE_SPANS = ResourceSpans.DESCRIPTOR.fields_by_number[2].name
# A collector's gRPC takes messages of 4 MiB unless told otherwise; the resource is beside this.
MOST = 3_670_016
_FRAMING = 8  # bytes around a span, at most
KINDS = {SpanKind.INTERNAL: Span.SPAN_KIND_INTERNAL, SpanKind.CLIENT: Span.SPAN_KIND_CLIENT}


class Message(NamedTuple):
    """One export, and how many spans are in it."""

    body: bytes
    spans: int


def encode(spans: Sequence[ReadableSpan], most: int = MOST) -> Iterator[Message]:
    """`spans`, all of one resource, as the bodies of exports of at most `most` bytes each, or of a single span."""
    gathered, size = list[Span](), 0
    for span in map(_span, spans):
        if gathered and size + span.ByteSize() > most:
            yield Message(_body(spans[0].resource, gathered), len(gathered))
            gathered, size = [], 0
        gathered.append(span)
        size += span.ByteSize() + _FRAMING
    yield Message(_body(spans[0].resource, gathered), len(gathered))


def _body(resource: Resource, spans: Sequence[Span]) -> bytes:
    request = ExportTraceServiceRequest()
    whole = request.resource_spans.add()
    whole.resource.attributes.extend(_pairs(resource.attributes))
    getattr(whole, SCOPE_SPANS).add().spans.extend(spans)
    return request.SerializeToString()


def _span(span: ReadableSpan) -> Span:
    return Span(
        trace_id=span.context.trace_id.to_bytes(16, "big"),
        span_id=span.context.span_id.to_bytes(8, "big"),
        trace_state=TraceState.to_header(span.context.trace_state),
        parent_span_id=span.parent.span_id.to_bytes(8, "big") if span.parent else b"",
        name=span.name,
        kind=KINDS[span.kind],
        start_time_unix_nano=span.start_time or 0,
        end_time_unix_nano=span.end_time or 0,
        attributes=_pairs(span.attributes or {}),
        status=_status(span),
    )


def _status(span: ReadableSpan) -> Status | None:
    if span.status.status_code is StatusCode.UNSET:
        return None
    return Status(code=Status.STATUS_CODE_ERROR, message=span.status.description or "")


def _pairs(attributes: Mapping[str, object]) -> Iterator[KeyValue]:
    return (KeyValue(key=key, value=_value(value)) for key, value in attributes.items())


def _value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case tuple() | list():
            return AnyValue(array_value=ArrayValue(values=map(_value, value)))
        case _:
            return AnyValue(string_value=str(value))
