"""What all processes of a bridge have counted together, read from their files."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sidecar.telemetry.metrics import Metric
from sidecar.telemetry.metrics.pages import entries, keys, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One combination of labels' values, in the order of `metric.labels`.

    `values`: one; of a histogram the sum, then what is in each bucket alone.
    """

    metric: Metric
    labels: tuple[str, ...]
    values: tuple[float, ...]


def added_up(directory: Path) -> Iterator[Series]:
    """All series, metric by metric. Raises OSError or ValueError where the disk does not give what was written."""
    totals = _totals(directory)
    found: dict[Metric, dict[tuple[str, ...], None]] = {metric: {} for metric in Metric}
    for metric, labels in map(told, totals):
        if metric is not None:
            found[metric][labels] = None
    for metric, known in found.items():
        for labels in known:
            values = tuple(totals.get(key, 0.0) for key in keys(metric, labels))
            yield Series(metric=metric, labels=labels, values=values)


def _totals(directory: Path) -> Mapping[str, float]:
    """The values by their keys: one process's goes to another's."""
    totals: defaultdict[str, float] = defaultdict(float)
    for file in directory.glob("*.db"):
        with suppress(FileNotFoundError):  # of gauges, whose process has just died
            for key, value in entries(file.read_bytes()):
                totals[key] += value
    return totals
