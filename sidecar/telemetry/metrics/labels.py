"""What clients and models say, made fit to be a label's value: short, printable, and a bounded number of values.

A series in a time series database is for ever: whoever could make up values could make up any number of them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sidecar.telemetry import semconv
from sidecar.telemetry.metrics import ACTOR, Metric

OTHER: Final = "other"  # what comes after `telemetry.max_label_values`
LONGEST: Final = 100  # characters
MOST_CELLS: Final = 5_000  # values of one metric in one process, each bucket's count one: of labels, the product counts
# Labels whose values somebody else controls, and which of them are bounded together.
_FREE: Mapping[str, str] = MappingProxyType(
    {
        "model": "request model",
        semconv.REQUEST_MODEL: "request model",
        semconv.RESPONSE_MODEL: "response model",
        "name": "tool",
        "type": "tokens",
        ACTOR: "actor",
    }
)


class Labels:
    """The values of one process, up to `most` each. A value that was admitted stays."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: defaultdict[str, set[str]] = defaultdict(set)
        self._cells: defaultdict[Metric, int] = defaultdict(int)

    def fit(self, metric: Metric, values: Sequence[str]) -> tuple[str, ...]:
        """`values` as they may stand in the labels of `metric`."""
        return tuple(self._fit(label, value) for label, value in zip(metric.labels, values, strict=False))

    def has_room(self, metric: Metric) -> bool:
        """Whether `metric` may have one more series with labels of its own."""
        return self._cells[metric] + cells(metric) <= MOST_CELLS

    def took(self, metric: Metric) -> None:
        """`metric` has one more."""
        self._cells[metric] += cells(metric)

    def _fit(self, label: str, value: str) -> str:
        group = _FREE.get(label)
        if group is None or not value:
            return value
        known, value = self._known[group], printable(value)
        if value not in known:
            if len(known) >= self._most:
                return OTHER
            known.add(value)
        return value


def cells(metric: Metric) -> int:
    """How many values a series has."""
    return len(metric.buckets) + 2 if metric.kind == "histogram" else 1


def without(metric: Metric, values: Sequence[str]) -> tuple[str, ...]:
    """`values` where there is no room for what somebody else controls."""
    pairs = zip(metric.labels, values, strict=False)
    return tuple(OTHER if label in _FREE and value else value for label, value in pairs)


def printable(value: str) -> str:
    """`value`, shortened to `LONGEST`, with a question mark for each character that does not print."""
    value = value[:LONGEST]
    return value if value.isprintable() else "".join(_printable(value))


def _printable(value: str) -> Iterator[str]:
    return (character if character.isprintable() else "?" for character in value)
