"""Metrics as the bytes of OTLP, held against the page that Prometheus reads."""

from pathlib import Path

import pytest

from sidecar.settings import Settings
from sidecar.telemetry.metrics import Metric, folder, sheets
from sidecar.telemetry.metrics.readings import encode
from sidecar.telemetry.metrics.sums import Series, added_up
from tests.telemetry.pushed import Pushed, as_prometheus, decode, page

OPERATION = ("chat", "openai", "aster-2", "", "127.0.0.1", "8080")
SENDER = {"service.name": "aibridge-sidecar"}
SINCE, AT = 1_800_000_000_000_000_000, 1_800_000_060_000_000_000


def pushed(*series: Series, most: int = 3_670_016) -> list[Pushed]:
    return [point for body in encode(series, SENDER, since=SINCE, at=AT, most=most) for point in decode(body)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What two processes left, of every metric there is."""
    settings = Settings(runtime_dir=tmp_path)
    for turn, process in enumerate(("worker-0", "keeper"), 1):
        kept = sheets.opened(settings, process)
        for metric in Metric:
            labels = tuple(f"{label} {turn % 2 or ''}" for label in metric.labels)
            for some in {labels, tuple("" for _ in metric.labels)}:
                if metric.kind == "histogram":
                    for bound in (*metric.buckets, 1e9):
                        kept.observe(metric, bound * turn, some)
                elif metric.kind == "gauge" and not metric.labels:
                    kept.set(metric, 7 * turn)
                else:
                    kept.add(metric, turn + 0.5, some)
        kept.close()
    return folder(settings)


def test_a_collector_and_prometheus_read_the_same(files: Path) -> None:
    shown = page(files)
    assert as_prometheus(pushed(*added_up(files))) == shown
    assert len({name for name, _ in shown}) > len(Metric)
    assert max(shown.values()) > 0


def test_a_convention_s_histogram_arrives_by_its_own_names() -> None:
    buckets = Metric.OPERATION_DURATION.buckets
    counts = (0.0, 2.0, *(0.0 for _ in buckets[2:]), 1.0)
    (point,) = pushed(Series(metric=Metric.OPERATION_DURATION, labels=(*OPERATION, "500"), values=(9.5, *counts)))
    assert point == Pushed(
        name="gen_ai.client.operation.duration",
        kind="histogram",
        unit="s",
        text=Metric.OPERATION_DURATION.text,
        labels={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "aster-2",
            "server.address": "127.0.0.1",
            "server.port": 8080,
            "error.type": "500",
        },
        values=(9.5, *counts),
        bounds=buckets,
        since=SINCE,
        at=AT,
        sender=SENDER,
        scope="aibridge-sidecar",
    )


def test_a_counter_has_a_start_and_a_gauge_none() -> None:
    counter, gauge = pushed(
        Series(metric=Metric.JOURNAL_STALLS_TOTAL, labels=(), values=(3.0,)),
        Series(metric=Metric.HELD_BYTES, labels=(), values=(5.0,)),
    )
    assert (counter.name, counter.kind, counter.since, counter.at) == (
        "aibridge_journal_stalls_total",
        "sum",
        SINCE,
        AT,
    )
    assert (gauge.kind, gauge.unit, gauge.since, gauge.at) == ("gauge", "By", 0, AT)


def test_what_is_more_than_a_collector_takes_goes_in_several_messages() -> None:
    """Its gRPC takes 4 MiB; each message says whose it is and what the metric is."""
    series = [
        Series(metric=metric, labels=("openai", f"model {number}", *rest), values=(number,))
        for metric, rest in ((Metric.PROMPTS_TOTAL, ("Codex",)), (Metric.TOKENS_TOTAL, ("input", "Codex")))
        for number in range(1, 50)
    ]
    bodies = list(encode(series, SENDER, since=SINCE, at=AT, most=2000))
    assert len(bodies) > 4
    assert max(map(len, bodies)) < 3000
    parts = [list(decode(body)) for body in bodies]
    assert [point for part in parts for point in part] == pushed(*series)
    assert {(point.text != "", point.sender["service.name"]) for part in parts for point in part} == {
        (True, "aibridge-sidecar")
    }


def test_a_point_that_is_longer_than_a_message_may_be_goes_alone() -> None:
    series = [Series(metric=Metric.OPEN_STREAMS, labels=(), values=(value,)) for value in (1.0, 2.0)]
    assert [point.values for point in pushed(*series, most=1)] == [(1.0,), (2.0,)]
    assert len(list(encode(series, SENDER, since=SINCE, at=AT, most=1))) == 2


def test_nothing_to_say_is_no_message() -> None:
    assert list(encode([], SENDER, since=SINCE, at=AT)) == []
