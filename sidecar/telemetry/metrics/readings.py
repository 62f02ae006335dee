"""From what was added up to the bytes of OTLP: an `ExportMetricsServiceRequest` (OTLP specification 1.x).

The messages are those that `messages.py` tells of; what was renamed is found by its number, likewise.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, TypeAlias

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    HistogramDataPoint,
    NumberDataPoint,
    ResourceMetrics,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as Told

from sidecar.telemetry import semconv
from sidecar.telemetry.metrics import Metric
from sidecar.telemetry.metrics.sums import Series

SCOPE_METRICS = ResourceMetrics.DESCRIPTOR.fields_by_number[2].name
SCOPE = ResourceMetrics.DESCRIPTOR.fields_by_number[2].message_type.fields_by_number[1].name
# A collector's gRPC takes messages of 4 MiB unless told otherwise; the resource and what a metric is are beside this.
MOST = 3_670_016
_FRAMING = 8  # bytes around a point, at most

Point: TypeAlias = Any  # a NumberDataPoint or a HistogramDataPoint


def encode(
    series: Iterable[Series], sender: Mapping[str, str], *, since: int, at: int, most: int = MOST
) -> Iterator[bytes]:
    """`series`, metric by metric, as the bodies of exports whose points take `most` bytes each, or a single one.

    `sender`: the resource's attributes. `since`, `at`: when they were 0, and when they were read, in nanoseconds since
    the epoch.
    """
    body, size = _Body(sender), 0
    for one in series:
        point = _point(one, since, at)
        length = point.ByteSize() + _FRAMING
        if size and size + length > most:
            yield body.content()
            body, size = _Body(sender), 0
        body.put(one.metric, point)
        size += length
    if size:
        yield body.content()


class _Body:
    """One export, while it is filled."""

    def __init__(self, sender: Mapping[str, str]) -> None:
        self._request = ExportMetricsServiceRequest()
        whole = self._request.resource_metrics.add()
        whole.resource.attributes.extend(_text(name, value) for name, value in sender.items())
        self._metrics = getattr(whole, SCOPE_METRICS).add()
        scope = getattr(self._metrics, SCOPE)
        scope.name, scope.version = "aibridge-sidecar", version("aibridge-sidecar")
        self._last: Metric | None = None
        self._points: Any = None  # those of the last metric

    def put(self, metric: Metric, point: Point) -> None:
        """One more point; all of one metric come one after the other."""
        if metric is not self._last:
            self._last, self._points = metric, _points(metric, self._metrics.metrics.add())
        self._points.append(point)

    def content(self) -> bytes:
        """The bytes."""
        content: bytes = self._request.SerializeToString()
        return content


def _points(metric: Metric, into: Told) -> Any:  # noqa: ANN401 -- generated code, and each kind has a list of its own
    """The list that is for this metric's points, once `into` says what it is."""
    into.name, into.description, into.unit = metric.otlp_name, metric.text, metric.unit
    if metric.kind == "gauge":
        return into.gauge.data_points
    told = into.sum if metric.kind == "counter" else into.histogram
    told.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    if metric.kind == "counter":
        told.is_monotonic = True
    return told.data_points


def _point(series: Series, since: int, at: int) -> Point:
    metric, (value, *counts) = series.metric, series.values
    pairs = zip(metric.labels, series.labels, strict=False)
    attributes = [_pair(name, said) for name, said in pairs if said]  # an empty label is none
    if metric.kind == "histogram":
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=since,
            time_unix_nano=at,
            count=sum(map(int, counts)),
            sum=value,
            bucket_counts=map(int, counts),
            explicit_bounds=metric.buckets,
        )
    start = since if metric.kind == "counter" else 0
    return NumberDataPoint(attributes=attributes, start_time_unix_nano=start, time_unix_nano=at, as_double=value)


def _pair(name: str, value: str) -> KeyValue:
    if name == semconv.SERVER_PORT and value.isdecimal():
        return KeyValue(key=name, value=AnyValue(int_value=int(value)))
    return _text(name, value)


def _text(name: str, value: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=value))
