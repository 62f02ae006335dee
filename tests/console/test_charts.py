from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.console.buckets import buckets
from sidecar.console.charts import HEIGHT, WIDTH, charts
from sidecar.console.overview import Overview, Usage

START = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)


def overview(*requests: int) -> Overview:
    times = [(START + timedelta(hours=number), Usage(requests=count)) for number, count in enumerate(requests)]
    return Overview(whole=Usage(requests=sum(requests)), times=times, tables={}, unpriced=[])


@given(st.lists(st.integers(min_value=0, max_value=2**62), min_size=1, max_size=60))
def test_every_bar_is_within_its_picture(counts: list[int]) -> None:
    chart = charts(overview(*counts))[0]
    assert len(chart.bars) == sum(count > 0 for count in counts)
    for bar in chart.bars:
        assert 0 <= bar.x < bar.x + bar.width <= WIDTH
        assert bar.height > 0
        assert bar.y + bar.height == pytest.approx(HEIGHT)


def test_what_is_half_as_much_is_half_as_high() -> None:
    high, low = charts(overview(10, 5, 0))[0].bars
    assert (high.height, low.height) == (HEIGHT, HEIGHT / 2)
    assert low.label == "2026-03-01 13:34:56: 5"


@given(st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=36_000)))
def test_a_span_is_covered_by_few_parts(length: timedelta) -> None:
    parts = buckets(START, START + length)
    assert 1 <= len(parts.numbers) <= 62
    assert parts.start(parts.numbers[0]) <= START
    assert parts.start(parts.numbers[-1] + 1) >= START + length - timedelta(seconds=1)
