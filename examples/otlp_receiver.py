"""A small OTLP receiver, over gRPC and over HTTP: what a collector would have got, to look at. Of metrics the bytes.

with Receiver() as receiver:
    ...                          # send spans to receiver.endpoint (gRPC) or receiver.http_endpoint
    print(tree(receiver.spans))
"""

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from types import TracebackType
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

TRACES = "opentelemetry.proto.collector.trace.v1.TraceService"
METRICS = "opentelemetry.proto.collector.metrics.v1.MetricsService"
# xds-protos and opentelemetry-proto write the same files, with different names for this field.
SCOPE_SPANS = trace_pb2.ResourceSpans.DESCRIPTOR.fields_by_number[2].name
EMPTY = b""  # a response that has nothing to complain about

Value = str | bool | int | float | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span as it arrived. Ids in hexadecimal, `parent_id` empty for a root; times in nanoseconds since the epoch."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    kind: str
    attributes: Mapping[str, Value]
    error: str | None
    resource: Mapping[str, Value]


class Receiver:
    """Listens on two ports of the loopback interface that the kernel chooses, until it is left."""

    def __init__(self) -> None:
        self.spans: tuple[Span, ...] = ()
        self.payloads: tuple[bytes, ...] = ()  # of traces
        self.metrics: tuple[bytes, ...] = ()
        self.headers: tuple[Mapping[str, str], ...] = ()  # of metrics
        self._arrival = Condition()
        self._grpc = grpc.server(ThreadPoolExecutor(max_workers=2))
        self._grpc.add_generic_rpc_handlers((_service(TRACES, self._take), _service(METRICS, self._measure)))
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self.http_endpoint = f"http://127.0.0.1:{self._http.server_port}"

    def wait(self, enough: Callable[[tuple[Span, ...]], bool], timeout: float) -> bool:
        """Whether what has arrived was `enough` within `timeout` seconds."""
        with self._arrival:
            return self._arrival.wait_for(lambda: enough(self.spans), timeout)

    def __enter__(self) -> Self:
        self._grpc.start()
        Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._grpc.stop(grace=None).wait()

    def _take(self, payload: bytes, _: Mapping[str, str]) -> bytes:
        arrived = tuple(decode(payload))
        with self._arrival:
            self.payloads += (payload,)
            self.spans += arrived
            self._arrival.notify_all()
        return EMPTY

    def _measure(self, payload: bytes, headers: Mapping[str, str]) -> bytes:
        with self._arrival:
            self.metrics += (payload,)
            self.headers += (headers,)
            self._arrival.notify_all()
        return EMPTY

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        takes = {"/v1/traces": self._take, "/v1/metrics": self._measure}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                take = takes.get(self.path)
                if take:
                    take(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body, headers)
                self.send_response(200 if take else 404)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: the spans are what is to be seen."""

        return Handler


def _service(name: str, take: Callable[[bytes, Mapping[str, str]], bytes]) -> grpc.GenericRpcHandler:
    def export(payload: bytes, context: grpc.ServicerContext) -> bytes:
        return take(payload, {key: str(value) for key, value in context.invocation_metadata()})

    # Without a deserialiser the bytes arrive as they were sent: the same ones as over HTTP.
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(export)
    return grpc.method_handlers_generic_handler(name, {"Export": handler})


def tree(spans: Sequence[Span]) -> str:
    """The spans as an indented tree, a line each: name, duration, error, and the attributes that the parent has not."""
    return "\n".join(_lines(sorted(spans, key=lambda span: (span.start, -span.end)), None, ""))


def decode(payload: bytes) -> Iterator[Span]:
    """The spans of one export, an `ExportTraceServiceRequest`."""
    for resource in ExportTraceServiceRequest.FromString(payload).resource_spans:
        for scope in getattr(resource, SCOPE_SPANS):
            for span in scope.spans:
                yield _span(span, _values(resource.resource.attributes))


def _lines(spans: Sequence[Span], parent: Span | None, indent: str) -> Iterator[str]:
    known = {span.span_id for span in spans}
    for span in spans:
        if span.parent_id == parent.span_id if parent else span.parent_id not in known:
            yield f"{indent}{_line(span, parent)}"
            yield from _lines(spans, span, indent + "  ")


def _line(span: Span, parent: Span | None) -> str:
    inherited = parent.attributes.items() if parent else ()
    facts = [f"{key}={value}" for key, value in span.attributes.items() if (key, value) not in inherited]
    error = [] if span.error is None else [f"ERROR({span.error})"]
    return " ".join([span.name, f"{(span.end - span.start) / 1e6:.1f}ms", *error, *facts])


def _span(span: trace_pb2.Span, resource: Mapping[str, Value]) -> Span:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        attributes=_values(span.attributes),
        error=span.status.message if failed else None,
        resource=resource,
    )


def _values(pairs: Sequence[KeyValue]) -> Mapping[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "array_value":
            return tuple(str(_value(item)) for item in value.array_value.values)
    return str(value)
