"""What an OTLP collector reads of a bridge's metrics, and the same as Prometheus would have it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as Told
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.utils import floatToGoString

from sidecar.telemetry.metrics import Metric
from sidecar.telemetry.metrics.readings import SCOPE, SCOPE_METRICS

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
_METRICS = {metric.otlp_name: metric for metric in Metric}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A point as it arrived. Times in nanoseconds since the epoch; `values`: one, or a sum and each bucket's count."""

    name: str
    kind: str
    unit: str
    text: str
    labels: Mapping[str, str | int]
    values: tuple[float, ...]
    bounds: tuple[float, ...]
    since: int
    at: int
    sender: Mapping[str, str | int]
    scope: str


def decode(payload: bytes) -> Iterator[Pushed]:
    """The points of one export."""
    for resource in ExportMetricsServiceRequest.FromString(payload).resource_metrics:
        for scoped in getattr(resource, SCOPE_METRICS):
            for metric in scoped.metrics:
                yield from _points(metric, _values(resource.resource.attributes), getattr(scoped, SCOPE).name)


def as_prometheus(points: Iterable[Pushed]) -> Samples:
    """By the names and labels that the page has."""
    return dict(sample for point in points for sample in _samples(point))


def page(folder: Path) -> Samples:
    """What is in the files, as the page has it. A label that is empty is none, by Prometheus' own rule."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    found = (sample for family in registry.collect() for sample in family.samples)
    return {(one.name, frozenset(pair for pair in one.labels.items() if pair[1])): one.value for one in found}


def _points(metric: Told, sender: Mapping[str, str | int], scope: str) -> Iterator[Pushed]:
    kind = metric.WhichOneof("data")
    told = getattr(metric, kind)
    if kind != "gauge":
        assert told.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    if kind == "sum":
        assert told.is_monotonic
    for point in told.data_points:
        if kind == "histogram":
            assert point.count == sum(point.bucket_counts)
        yield Pushed(
            name=metric.name,
            kind=kind,
            unit=metric.unit,
            text=metric.description,
            labels=_values(point.attributes),
            values=(point.sum, *point.bucket_counts) if kind == "histogram" else (point.as_double,),
            bounds=tuple(point.explicit_bounds) if kind == "histogram" else (),
            since=point.start_time_unix_nano,
            at=point.time_unix_nano,
            sender=sender,
            scope=scope,
        )


def _values(pairs: Iterable[KeyValue]) -> Mapping[str, str | int]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _samples(point: Pushed) -> Iterator[tuple[tuple[str, frozenset[tuple[str, str]]], float]]:
    name = _METRICS[point.name].full_name
    labels = {key.replace(".", "_"): str(value) for key, value in point.labels.items()}
    value, *counts = point.values
    if point.kind != "histogram":
        yield (name, frozenset(labels.items())), value
        return
    yield (f"{name}_sum", frozenset(labels.items())), value
    yield (f"{name}_count", frozenset(labels.items())), sum(counts)
    for bound, count in zip((*point.bounds, float("inf")), accumulate(counts), strict=True):
        yield (f"{name}_bucket", frozenset({**labels, "le": floatToGoString(bound)}.items())), count
