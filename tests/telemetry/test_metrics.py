"""The table, and metrics that are off."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sidecar.settings import Settings, Telemetry
from sidecar.telemetry.metrics import Metric, NoMetrics
from sidecar.telemetry.sheets import opened

KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}


@pytest.mark.parametrize("metric", Metric)
def test_a_metric_is_one_that_prometheus_takes(metric: Metric) -> None:
    registry = CollectorRegistry()
    more = {"buckets": metric.buckets} if metric.buckets else {}
    KINDS[metric.kind](metric.full_name, metric.text, registry=registry, **more)
    assert metric.full_name.startswith("aibridge_")


@pytest.mark.parametrize("metric", Metric)
def test_a_name_says_what_it_counts_and_the_help_its_unit(metric: Metric) -> None:
    assert metric.full_name.endswith("_total") == (metric.kind == "counter")
    for unit in ("seconds", "bytes"):
        assert metric.full_name.endswith(f"_{unit}") == (f"in {unit}" in metric.text)
    assert metric.text.endswith(".")


def test_buckets_rise_and_reach_from_half_a_millisecond_to_five_seconds() -> None:
    buckets = Metric.JOURNAL_COMMIT_SECONDS.buckets
    assert list(buckets) == sorted(set(buckets))
    assert (buckets[0], buckets[-1]) == (0.0005, 5.0)


def test_metrics_that_are_off_leave_no_trace(tmp_path: Path) -> None:
    metrics = opened(Settings(runtime_dir=tmp_path, telemetry=Telemetry(metrics="")), "worker-0")
    metrics.add(Metric.RESPONSES_LET_GO_TOTAL)
    metrics.set(Metric.OPEN_STREAMS, 1)
    metrics.observe(Metric.JOURNAL_COMMIT_SECONDS, 0.1)
    metrics.close()
    assert isinstance(metrics, NoMetrics)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["sidecar.app", "sidecar.supervisor"])
def test_who_is_asked_for_no_metrics_does_not_import_prometheus(module: str) -> None:
    """Workers never do: they only write what it reads."""
    found = f"import sys, {module}; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", found], check=False).returncode == 0
