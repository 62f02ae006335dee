"""Traces by the OpenTelemetry SDK: whole trees, with the times they had, under the trace that Envoy passes on."""

from collections.abc import Sequence
from threading import Thread

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sidecar.core.records import Ended, Forwarded, Passed, Prompt, Record, Started, Thought, Tokens, Tool
from sidecar.telemetry.metrics import Metrics, NoMetrics
from sidecar.telemetry.traces import Trace, is_unsampled
from sidecar.telemetry.traces.profiles import View
from sidecar.telemetry.traces.tree import Node, Tree, passthrough
from sidecar.telemetry.traces.waiting import Waiting

NANOSECONDS = 1_000_000_000
# Ten spans an interception: a burst of 800 fits, and takes 25 MB at most.
QUEUE = 8192
# With content, of which an attribute may have 64 KiB.
CONTENT_QUEUE = 1024
BATCH = 512
BATCH_DELAY = 1000  # milliseconds until a span leaves, at most: one looks for a trace right after the request
W3C = TraceContextTextMapPropagator()


class SpanTraces:
    """Traces that an exporter carries away, in batches, from a thread of its own."""

    def __init__(
        self, exporter: SpanExporter, resource: Resource, view: View | None = None, metrics: Metrics | None = None
    ) -> None:
        """`view`: what the span of a call to a provider says; `metrics`: where spans without room are counted."""
        self._view = view or View()
        queue = CONTENT_QUEUE if self._view.content else QUEUE
        self._exporter = Waiting(exporter, queue, metrics or NoMetrics())
        # Envoy has decided whether a trace is sampled, and what is not never gets here; what is admitted must leave.
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, queue, BATCH_DELAY, BATCH))
        self._tracer = self._provider.get_tracer("sidecar.telemetry")

    def begin(self, traceparent: str | None, tracestate: str | None = None) -> Trace | None:
        """As `Traces.begin` says."""
        if traceparent is None:
            return SpanTrace(self._tracer, Context(), self._view, self._exporter)
        if is_unsampled(traceparent):
            return None
        carrier = {"traceparent": traceparent} | ({"tracestate": tracestate} if tracestate else {})
        parent = W3C.extract(carrier, Context())
        caller = get_current_span(parent).get_span_context()
        if caller.is_valid and not caller.trace_flags.sampled:
            return None
        return SpanTrace(self._tracer, parent, self._view, self._exporter)

    def close(self, timeout: float) -> None:
        """As `Traces.close` says. What the exporter is busy with when the time is up is given up."""
        # The SDK's own bound is 30 s, and it retries within it.
        closing = Thread(target=self._provider.shutdown, name="traces-close", daemon=True)
        closing.start()
        closing.join(timeout)
        if closing.is_alive():
            self._exporter.shutdown()


class SpanTrace:
    """One request's spans, made all at once when it has ended."""

    __slots__ = ("_parent", "_tracer", "_tree", "_waiting")

    def __init__(self, tracer: Tracer, parent: Context, view: View, waiting: Waiting) -> None:
        self._waiting = waiting
        self._tracer = tracer
        self._parent = parent
        self._tree = Tree(view)

    def observe(self, records: Sequence[Record], committed_at: float | None) -> None:
        """As `Trace.observe` says."""
        for record in records:
            tree = self._grown(record, committed_at)
            if tree and self._waiting.admits(_size(tree)):
                self._emit(tree, self._parent)

    def _grown(self, record: Record, committed_at: float | None) -> Node | None:
        match record:
            case Started():
                self._tree.start(record, committed_at)
            case Forwarded():
                self._tree.forward(record)
            case Prompt() | Tokens() | Tool() | Thought():
                self._tree.record(record, committed_at)
            case Ended():
                return self._tree.end(record, committed_at)
            case Passed():
                return passthrough(record)
        return None

    def _emit(self, node: Node, parent: Context) -> None:
        span = self._tracer.start_span(
            node.name,
            context=parent,
            kind=SpanKind.CLIENT if node.client else SpanKind.INTERNAL,
            attributes=node.attributes,
            start_time=_nanoseconds(node.start),
        )
        if node.error is not None:
            span.set_status(Status(StatusCode.ERROR, node.error))
        inside = set_span_in_context(span, parent)
        for child in node.children:
            self._emit(child, inside)
        span.end(_nanoseconds(node.end))


def _size(node: Node) -> int:
    return 1 + sum(map(_size, node.children))


def _nanoseconds(seconds: float) -> int:
    # In two parts: the product of the whole would be off by as much as 128 ns.
    whole, part = divmod(seconds, 1.0)
    return int(whole) * NANOSECONDS + round(part * NANOSECONDS)
