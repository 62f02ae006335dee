"""A file of values, whole whenever its process dies."""

from pathlib import Path

import pytest

from sidecar.telemetry.metrics import Metric
from sidecar.telemetry.metrics.pages import Page, entries, keys, told
from tests.telemetry.exposed import stored

VALUES = {metric: tuple(f'{label} \u00e9"\\' for label in metric.labels) for metric in Metric}


def opened(path: Path, **values: float) -> Page:
    page = Page(path)
    for key, value in values.items():
        put(page, page.begin([key]), value)
    page.open()
    return page


def put(page: Page, slot: int, value: float) -> None:
    page.values[slot] = value
    page.changed.add(slot)


def test_a_process_killed_between_two_writes_leaves_a_sound_file(tmp_path: Path) -> None:
    """The header, which says how much there is, is written last."""
    path = tmp_path / "gauge_livesum_w.db"
    page = opened(path, a=1.0)
    before = path.read_bytes()
    put(page, 0, 2.0)
    put(page, page.begin(["bb"]), 3.0)
    page.draw()
    page.write()
    path.write_bytes(before[:8] + path.read_bytes()[8:])
    assert stored(path) == {"a": 2.0}
    put(page, 0, 3.0)
    page.draw()
    page.write()
    page.close()
    assert stored(path) == dict(entries(path.read_bytes())) == {"a": 3.0, "bb": 3.0}


def test_a_successor_goes_on_from_what_there_was(tmp_path: Path) -> None:
    path = tmp_path / "counter_w.db"
    opened(path, a=1.0, bb=2.0).close()
    page = Page(path)
    assert page.found == ("a", "bb")
    first = page.begin(["bb", "c"])
    assert page.values[first:] == [2.0, 0.0]
    assert page.found == ("a",)
    page.clear()
    page.open()
    page.close()
    assert stored(path) == {"bb": 2.0, "c": 0.0}


def test_what_has_not_changed_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "counter_w.db"
    page = opened(path, a=1.0)
    path.write_bytes(b"")
    page.draw()
    page.write()
    assert path.read_bytes() == b""
    page.close()


def test_what_a_full_disk_did_not_take_is_written_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "counter_w.db"
    page = opened(path, a=1.0)
    put(page, 0, 2.0)
    page.draw()
    with monkeypatch.context() as patched:
        patched.setattr("sidecar.telemetry.metrics.pages.os.pwrite", lambda *_: 0)
        page.write()
    assert stored(path) == {"a": 1.0}
    page.draw()
    page.write()
    page.close()
    assert stored(path) == {"a": 2.0}


@pytest.mark.parametrize("metric", Metric)
def test_a_key_tells_its_metric_and_its_labels(metric: Metric) -> None:
    series = keys(metric, VALUES[metric])
    assert len(series) == (len(metric.buckets) + 2 if metric.kind == "histogram" else 1)
    assert {told(key) for key in series} == {(metric, VALUES[metric])}


def test_a_label_that_is_left_out_stays_out() -> None:
    values = ("openai", "m", "Codex")
    assert {told(key) for key in keys(Metric.PROMPTS_TOTAL, values)} == {(Metric.PROMPTS_TOTAL, values)}


def test_a_key_of_another_s_is_none_of_ours() -> None:
    assert told('["x", "x_total", {}, "x"]') == (None, ())
