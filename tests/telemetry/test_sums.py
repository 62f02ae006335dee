"""What the files of all processes say together."""

from pathlib import Path

from sidecar.settings import Settings
from sidecar.telemetry.metrics import Metric, folder, sheets
from sidecar.telemetry.metrics.sums import Series, added_up

CHUNK = ("response_body",)


def values(run: Path, metric: Metric) -> dict[tuple[str, ...], tuple[float, ...]]:
    """What is added up of `metric`, by labels."""
    found = added_up(folder(Settings(runtime_dir=run)))
    return {series.labels: series.values for series in found if series.metric is metric}


def test_each_process_s_values_go_to_the_others(tmp_path: Path) -> None:
    settings = Settings(runtime_dir=tmp_path)
    for process in ("worker-0", "worker-1"):
        kept = sheets.opened(settings, process)
        kept.add(Metric.PASSTHROUGH_TOTAL, 2, ("openai", "models", "GET"))
        kept.set(Metric.OPEN_STREAMS, 3)
        kept.observe(Metric.PHASE_SECONDS, 0.03, CHUNK)
        kept.observe(Metric.PHASE_SECONDS, 60.0, CHUNK)
        kept.close()
    assert values(tmp_path, Metric.PASSTHROUGH_TOTAL) == {("openai", "models", "GET"): (4.0,)}
    assert values(tmp_path, Metric.OPEN_STREAMS) == {(): (6.0,)}
    total, *counts = values(tmp_path, Metric.PHASE_SECONDS)[CHUNK]
    bounds = Metric.PHASE_SECONDS.buckets
    assert total == 2 * 60.03
    assert [counts[bounds.index(0.05)], counts[-1], sum(counts), len(counts)] == [2, 2, 4, len(bounds) + 1]


def test_what_was_counted_outlives_its_process_and_its_gauges_do_not(tmp_path: Path) -> None:
    """A successor goes on from there: what a collector gets never goes down."""
    settings = Settings(runtime_dir=tmp_path)
    for _ in range(2):
        kept = sheets.opened(settings, "worker-0")
        kept.add(Metric.WORKER_STARTS_TOTAL)
        kept.set(Metric.WORKERS, 1)
        kept.close()
        sheets.forget(settings, "worker-0")
    assert values(tmp_path, Metric.WORKER_STARTS_TOTAL) == {(): (2.0,)}
    assert values(tmp_path, Metric.WORKERS) == {}


def test_series_come_metric_by_metric(tmp_path: Path) -> None:
    settings = Settings(runtime_dir=tmp_path)
    for process, model in (("worker-0", "a"), ("worker-1", "b")):
        kept = sheets.opened(settings, process)
        kept.add(Metric.TOKENS_TOTAL, 1, ("openai", model, "input", "Codex"))
        kept.add(Metric.PROMPTS_TOTAL, 1, ("openai", model, "Codex"))
        kept.close()
    order = [series.metric for series in added_up(folder(settings))]
    assert order == sorted(order, key=list(Metric).index)
    assert order.count(Metric.TOKENS_TOTAL) == 2


def test_a_label_that_may_be_left_out_is_missing_at_the_end(tmp_path: Path) -> None:
    kept = sheets.opened(Settings(runtime_dir=tmp_path), "worker-0")
    kept.add(Metric.PROMPTS_TOTAL, 1, ("openai", "m", "Codex"))
    kept.add(Metric.PROMPTS_TOTAL, 1, ("openai", "m", "Codex", "alice"))
    kept.close()
    assert set(values(tmp_path, Metric.PROMPTS_TOTAL)) == {("openai", "m", "Codex"), ("openai", "m", "Codex", "alice")}


def test_no_files_are_no_series(tmp_path: Path) -> None:
    assert list[Series](added_up(tmp_path / "nowhere")) == []
