"""How long answers take and how steadily chunks come, on a clock that the test sets."""

from collections.abc import Sequence
from copy import copy
from typing import Self

import pytest

from sidecar.telemetry.metrics import Metric
from sidecar.telemetry.metrics.counting import Counting
from sidecar.telemetry.metrics.meters import Meters
from sidecar.telemetry.metrics.operations import Operations
from tests.telemetry.counted import Listed, Told, at_once

PHASES, GAPS = Metric.PHASE_SECONDS.buckets, Metric.TIME_PER_OUTPUT_CHUNK.buckets
CHUNK = "response_body"
ID = "an interception"


class Paces(Counting):
    """Remembers what it is told of chunks."""

    def __init__(self, metrics: Listed) -> None:
        super().__init__(metrics, Operations(metrics, {}), by_actor=False)
        self.told: list[tuple[str, list[int], float]] = []

    def pace(self, interception: str, gaps: Sequence[int], total: float) -> None:
        self.told.append((interception, list(gaps), total))


class Stream:
    """One stream, whose messages come and are answered at times that are said, in seconds."""

    def __init__(self) -> None:
        self.metrics = Listed()
        self.paces = Paces(self.metrics)
        self.clock = [0.0]
        self.shared = Meters(self.metrics, self.paces, lambda: self.clock[0], at_once)
        self.meter = self.shared.begin()

    def beside(self) -> Self:
        """Another one, of the same worker."""
        other = copy(self)
        other.meter = self.shared.begin()
        return other

    def message(self, read: float, took: float, phase: str = "") -> None:
        """One that was read then and took so long; without a phase it was skimmed."""
        self.clock[0] = read
        self.meter.read()
        self.clock[0] = read + took
        if phase:
            self.meter.answered(phase)
        else:
            self.meter.skimmed()

    def close(self, interception: str | None = ID) -> None:
        self.meter.close(interception)


@pytest.fixture
def stream() -> Stream:
    return Stream()


def phases(counts: dict[float, int], total: float) -> Told:
    """What is poured of skimmed chunks: so many up to each bound."""
    found = [counts.get(bound, 0) for bound in (*PHASES, float("inf"))]
    return (Metric.PHASE_SECONDS, total, (CHUNK, *map(str, found)))


def gaps(counts: dict[float, int]) -> list[int]:
    return [counts.get(bound, 0) for bound in (*GAPS, float("inf"))]


def test_a_message_takes_from_its_reading_to_its_last_answer(stream: Stream) -> None:
    stream.message(10.0, 0.25, "request_headers")
    stream.message(20.0, 0.5, "request_body")
    assert stream.metrics.told == [
        (Metric.PHASE_SECONDS, 0.25, ("request_headers",)),
        (Metric.PHASE_SECONDS, 0.5, ("request_body",)),
    ]


def test_what_came_before_the_first_chunk_is_no_gap(stream: Stream) -> None:
    stream.message(1.0, 0.0, "response_headers")
    stream.message(2.0, 0.0, CHUNK)
    stream.close()
    assert stream.paces.told == [(ID, gaps({}), 0.0)]


def test_a_gap_is_from_one_reading_to_the_next_whatever_answers_took(stream: Stream) -> None:
    stream.message(1.0, 0.25, CHUNK)
    stream.message(1.5, 0.125, CHUNK)
    stream.message(3.0, 0.0, CHUNK)
    stream.close()
    assert stream.paces.told == [(ID, gaps({0.64: 1, 2.56: 1}), 2.0)]


def test_skimmed_chunks_are_gaps_like_any_other(stream: Stream) -> None:
    stream.message(1.0, 0.0, CHUNK)
    stream.message(1.5, 0.0)
    stream.message(2.0, 0.0)
    stream.message(2.5, 0.0, CHUNK)
    stream.close()
    assert stream.paces.told == [(ID, gaps({0.64: 3}), 1.5)]


def test_skimmed_chunks_are_handed_over_together_when_the_stream_has_gone(stream: Stream) -> None:
    """A hundred thousand of them cost one call, and are counted each in its bucket all the same."""
    stream.message(1.0, 0.5, CHUNK)
    for read in range(2, 5):
        stream.message(float(read), 0.0625)
    stream.message(5.0, 0.25)
    assert stream.metrics.told == [(Metric.PHASE_SECONDS, 0.5, (CHUNK,))]
    stream.close()
    assert stream.metrics.told[1:] == [phases({0.1: 3, 0.25: 1}, 0.4375)]


@pytest.mark.parametrize("bound", [*PHASES[:1], PHASES[-1]])
def test_a_bucket_holds_its_own_bound(stream: Stream, bound: float) -> None:
    """As Prometheus' `le` and OTLP's bounds have it."""
    stream.message(0.0, 1.0, CHUNK)
    stream.message(0.0, bound)
    stream.close()
    assert stream.metrics.told[1:] == [phases({bound: 1}, bound)]


def test_what_is_beyond_all_bounds_is_counted_too(stream: Stream) -> None:
    stream.message(1.0, 0.0, CHUNK)
    stream.message(1001.0, 64.0)
    stream.close()
    assert stream.metrics.told[1:] == [phases({float("inf"): 1}, 64.0)]
    assert stream.paces.told == [(ID, gaps({float("inf"): 1}), 1000.0)]


def test_a_stream_without_skimmed_chunks_pours_nothing(stream: Stream) -> None:
    stream.message(1.0, 0.5, CHUNK)
    stream.close()
    assert stream.metrics.told == [(Metric.PHASE_SECONDS, 0.5, (CHUNK,))]


def test_who_is_no_interception_has_no_pace(stream: Stream) -> None:
    stream.message(1.0, 0.5, CHUNK)
    stream.message(2.0, 0.5)
    stream.close(None)
    assert stream.paces.told == []
    assert stream.metrics.told[1:] == [phases({0.5: 1}, 0.5)]


def test_streams_are_measured_apart(stream: Stream) -> None:
    beside = stream.beside()
    stream.message(1.0, 0.0, CHUNK)
    beside.message(5.0, 0.0, CHUNK)
    beside.message(6.0, 0.0)
    stream.message(2.5, 0.0)
    stream.close("first")
    beside.close("second")
    assert stream.paces.told == [("first", gaps({2.56: 1}), 1.5), ("second", gaps({1.28: 1}), 1.0)]
