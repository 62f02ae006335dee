"""The page about metrics against the metrics."""

from pathlib import Path

from sidecar.telemetry.metrics import Metric

PAGE = (Path(__file__).parents[2] / "docs/observability/metrics.md").read_text()


def test_every_metric_is_told_with_its_labels() -> None:
    """And nothing else is."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")
    ]
    assert [tuple(row) for row in rows] == [
        (
            f"`{metric.full_name}`",
            metric.kind,
            ", ".join(f"`{label.replace('.', '_')}`" for label in metric.labels) or "none",
            metric.text,
        )
        for metric in Metric
    ]
