"""Traces whose collector takes nothing: the spans that wait are bounded, the others counted, nobody waits."""

import json
import subprocess
import sys
from itertools import count, takewhile
from time import perf_counter

import pytest
from opentelemetry.sdk.resources import Resource
from structlog.testing import capture_logs

from sidecar.telemetry.traces.profiles import View
from sidecar.telemetry.traces.spans import BATCH, CONTENT_QUEUE, QUEUE, SpanTraces
from tests.e2e.waiting import undisturbed
from tests.telemetry.interceptions import ENDED, FORWARDED, STARTED, TOKENS, T
from tests.telemetry.stuck import Dropped, Stuck

TREE = 7  # spans of an interception as below
HARMLESS = 1.5
ROOM = View(content=True)
# Memory, in bytes, that the first spans take, as many as there is room for, and then ten times as many others.
GROWTH = """
import json
from os import sysconf
from pathlib import Path
from opentelemetry.sdk.resources import Resource
from sidecar.telemetry.traces.spans import QUEUE, SpanTraces
from tests.telemetry.stuck import Dropped, Stuck
from tests.telemetry.test_spans_stuck import TREE, offer

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * sysconf("SC_PAGE_SIZE")

traces = SpanTraces(Stuck(), Resource({}), metrics=Dropped())
offer(traces, 1)
empty = resident()
offer(traces, QUEUE // TREE)
full = resident()
offer(traces, 10 * QUEUE // TREE)
print(json.dumps([full - empty, resident() - full]))
"""


def offer(traces: SpanTraces, interceptions: int) -> None:
    for _ in range(interceptions):
        trace = traces.begin(None)
        trace.observe([STARTED], T + 0.5)
        trace.observe([FORWARDED, TOKENS, ENDED], T + 4.5)


@pytest.mark.parametrize(("view", "room"), [(None, QUEUE), (ROOM, CONTENT_QUEUE)])
def test_what_is_offered_is_held_or_counted(view: View | None, room: int) -> None:
    exporter, dropped = Stuck(), Dropped()
    traces = SpanTraces(exporter, Resource({}), view, dropped)
    interceptions = 2 * room // TREE
    offer(traces, interceptions)
    lost = dropped.by["queue_full"]
    exporter.freed.set()
    traces.close(30)
    assert exporter.spans == TREE * interceptions - lost
    assert room - TREE < exporter.spans <= room + BATCH
    assert dropped.by == {"queue_full": lost}


def test_a_tree_is_held_whole_or_not_at_all() -> None:
    exporter, dropped = Stuck(), Dropped()
    traces = SpanTraces(exporter, Resource({}), ROOM, dropped)
    offer(traces, CONTENT_QUEUE)
    exporter.freed.set()
    traces.close(30)
    assert exporter.spans % TREE == dropped.by["queue_full"] % TREE == 0


def test_memory_stays_where_a_full_queue_had_it() -> None:
    """In a process of its own, which nothing else makes grow."""
    found = subprocess.run([sys.executable, "-c", GROWTH], check=True, capture_output=True, text=True, timeout=120)
    first, others = json.loads(found.stdout.splitlines()[-1])
    assert first > 0
    assert others < first / 4


def test_nobody_waits_for_an_exporter_that_is_stuck() -> None:
    """Neither while the queue fills nor when it is full; the two by turns, against what else the machine does."""
    stuck, healthy = Stuck(), Stuck()
    healthy.freed.set()
    dropped = Dropped()
    both = [SpanTraces(exporter, Resource({}), ROOM, dropped) for exporter in (stuck, healthy)]
    rounds = (tuple(_seconds(traces) for traces in both) for _ in count())
    filling = list(takewhile(lambda _: not dropped.by, rounds))
    full = [next(rounds) for _ in range(len(filling))]
    stuck.freed.set()
    for traces in both:
        traces.close(30)
    for seconds in (filling, full):
        waiting, going = zip(*seconds, strict=True)
        assert undisturbed(waiting) < HARMLESS * undisturbed(going)


def _seconds(traces: SpanTraces) -> float:
    before = perf_counter()
    offer(traces, 1)  # the shorter it takes, the more often nobody comes between
    return perf_counter() - before


def test_a_queue_that_fills_and_empties_is_told_once_each() -> None:
    exporter, dropped = Stuck(), Dropped()
    traces = SpanTraces(exporter, Resource({}), ROOM, dropped)
    with capture_logs() as logged:
        offer(traces, CONTENT_QUEUE)
    full = "spans come faster than telemetry.otlp_endpoint takes them; what finds no room is dropped"
    exporter.freed.set()
    traces.close(30)
    with capture_logs() as later:
        offer(traces, CONTENT_QUEUE // TREE // 2)
    assert [line["event"] for line in logged] == [full]
    assert [line["event"] for line in later] == ["there is room for spans again"]


def test_what_the_caller_does_not_sample_takes_no_room() -> None:
    """It would never leave."""
    exporter, dropped = Stuck(), Dropped()
    exporter.freed.set()
    traces = SpanTraces(exporter, Resource({}), ROOM, dropped)
    for _ in range(CONTENT_QUEUE):
        assert traces.begin("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more") is None
    offer(traces, 1)
    traces.close(30)
    assert exporter.spans == TREE
    assert not dropped.by
