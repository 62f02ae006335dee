"""The table, and metrics that are off."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sidecar.settings import Settings, Telemetry
from sidecar.telemetry.metrics import ACTOR, Metric, NoMetrics, plain
from sidecar.telemetry.metrics.sheets import opened

KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}


@pytest.mark.parametrize("metric", Metric)
def test_a_metric_is_one_that_prometheus_takes(metric: Metric) -> None:
    registry = CollectorRegistry()
    more = {"buckets": metric.buckets} if metric.buckets else {}
    KINDS[metric.kind](metric.full_name, metric.text, registry=registry, **more)
    assert metric.full_name.startswith(("aibridge_", "gen_ai_client_"))


@pytest.mark.parametrize("metric", Metric)
def test_labels_are_names_that_prometheus_takes_and_the_actor_stands_last(metric: Metric) -> None:
    """It is left out where `telemetry.actor_label` is off."""
    assert all(plain(label).isidentifier() and not label.startswith("__") for label in metric.labels)
    assert ACTOR not in metric.labels[:-1]


@pytest.mark.parametrize(
    ("metric", "names", "unit"),
    [
        (Metric.TOKENS_TOTAL, ("aibridge_tokens_total", "aibridge_tokens_total"), ""),
        (Metric.HELD_BYTES, ("aibridge_held_bytes", "aibridge_held_bytes"), "By"),
        (
            Metric.OPERATION_DURATION,
            ("gen_ai_client_operation_duration_seconds", "gen_ai.client.operation.duration"),
            "s",
        ),
        (Metric.TOKEN_USAGE, ("gen_ai_client_token_usage", "gen_ai.client.token.usage"), "{token}"),
        (
            Metric.USAGE_CACHE_READ_TOKENS_TOTAL,
            (
                "gen_ai_client_inference_usage_cache_read_input_tokens_total",
                "gen_ai.client.inference.usage.cache_read.input_tokens",
            ),
            "{token}",
        ),
    ],
)
def test_a_convention_s_name_becomes_prometheus_s_by_the_rules(
    metric: Metric, names: tuple[str, str], unit: str
) -> None:
    """OpenTelemetry's "Prometheus and OpenMetrics compatibility": underscores, the unit, `_total` for a counter."""
    assert ((metric.full_name, metric.otlp_name), metric.unit) == (names, unit)


@pytest.mark.parametrize("metric", Metric)
def test_a_name_says_what_it_counts_and_the_help_its_unit(metric: Metric) -> None:
    assert metric.full_name.endswith("_total") == (metric.kind == "counter")
    for unit in ("seconds", "bytes"):
        assert metric.full_name.endswith(f"_{unit}") == (f"in {unit}" in metric.text)
    assert metric.text.endswith(".")


@pytest.mark.parametrize("metric", [metric for metric in Metric if metric.kind == "histogram"])
def test_buckets_rise(metric: Metric) -> None:
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.buckets[0] > 0


def test_buckets_are_those_that_were_agreed() -> None:
    """The GenAI conventions advise on theirs; dashboards know those of an interception's duration."""
    assert Metric.INTERCEPTIONS_DURATION_SECONDS.buckets == (0.5, 2, 5, 15, 30, 60, 120)
    assert Metric.OPERATION_DURATION.buckets[:4] == (0.01, 0.02, 0.04, 0.08)
    assert Metric.OPERATION_DURATION.buckets[-1] == 81.92
    assert Metric.TOKEN_USAGE.buckets == tuple(4**power for power in range(14))
    assert Metric.TOKEN_USAGE.buckets[-1] == 67_108_864


def test_metrics_that_are_off_leave_no_trace(tmp_path: Path) -> None:
    metrics = opened(Settings(runtime_dir=tmp_path, telemetry=Telemetry(metrics="")), "worker-0")
    metrics.add(Metric.RESPONSES_LET_GO_TOTAL)
    metrics.set(Metric.OPEN_STREAMS, 1)
    metrics.observe(Metric.JOURNAL_COMMIT_SECONDS, 0.1)
    metrics.pour(Metric.JOURNAL_COMMIT_SECONDS, [1] * 14, 0.1, ())
    metrics.close()
    assert isinstance(metrics, NoMetrics)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["sidecar.app", "sidecar.supervisor"])
def test_who_is_asked_for_no_metrics_does_not_import_prometheus(module: str) -> None:
    """Workers never do: they only write what it reads."""
    found = f"import sys, {module}; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", found], check=False).returncode == 0
