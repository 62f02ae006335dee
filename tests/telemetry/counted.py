"""Metrics as a list of what was told them, for the tests beside."""

from collections.abc import Callable, Sequence

from sidecar.telemetry.metrics import Metric, NoMetrics

Told = tuple[Metric, float, tuple[str, ...]]


class Listed(NoMetrics):
    """Everything that was counted or observed, in its order."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def add(self, metric: Metric, amount: float = 1.0, labels: Sequence[str] = ()) -> None:
        self.told.append((metric, amount, tuple(labels)))

    def observe(self, metric: Metric, value: float, labels: Sequence[str] = ()) -> None:
        self.told.append((metric, value, tuple(labels)))

    def pour(self, metric: Metric, counts: Sequence[int], total: float, labels: Sequence[str]) -> None:
        self.told.append((metric, total, (*labels, *map(str, counts))))

    def of(self, *metrics: Metric) -> list[Told]:
        """What was told of these."""
        return [told for told in self.told if told[0] in metrics]


def at_once(call: Callable[..., None], *arguments: object) -> None:
    """What a `Batch` would put off."""
    call(*arguments)
