"""The benchmarks run, and measure what they say: no figure is judged here."""

import asyncio
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.exchanges import answers, document, pieces, request
from bench.load import Load, load
from examples.answers import Answer, Seen
from examples.provider import Provider

ROOT = Path(__file__).parent.parent
FEW = ("--rounds", "1", "--requests", "16", "--events", "10", "--pace", "0.001", "--delay", "0.001")


def few(provider: Provider, kind: str) -> Load:
    return Load(address=provider.url.removeprefix("http://"), kind=kind, connections=2, requests=5, events=10)


@pytest.mark.parametrize("count", [10, 11, 300])
def test_a_stream_has_as_many_events_as_were_asked_for(count: int) -> None:
    events = [json.loads(piece.partition(b"data: ")[2]) for piece in pieces(count)]
    assert len(events) == count
    assert [event["sequence_number"] for event in events] == list(range(count))
    assert events[-1]["type"] == "response.completed"


def test_the_sizes_are_the_usual_ones() -> None:
    """What a message costs depends on its size: 1 KiB up, 2 KiB down, 250 bytes an event."""
    assert 1000 < len(request(stream=False).partition(b"\r\n\r\n")[2]) < 1200
    for size in (102_400, 2_097_152):
        assert 0.98 * size < len(request(stream=False, size=size).partition(b"\r\n\r\n")[2]) <= size
    assert 1800 < len(document()) < 2200
    assert 200 < len(pieces(300)[100]) < 300


@pytest.mark.parametrize("kind", ["json", "sse"])
async def test_an_answer_of_the_providers_is_no_error(kind: str) -> None:
    async with Provider(answers(10, 0.0, 0.0), keep=False) as provider:
        outcome = await load(few(provider, kind))
    assert outcome.errors == 0
    assert 0 < outcome.latency.p50 <= outcome.latency.p99 <= outcome.latency.p999 <= 1000 * outcome.seconds


async def test_who_leaves_amid_a_stream_is_no_error() -> None:
    """And no answer that is measured."""
    async with Provider(answers(10, 0.001, 0.0), keep=False) as provider:
        outcome = await load(replace(few(provider, "sse"), leave=100))
    assert (outcome.errors, outcome.latency.p50) == (0, 0)


async def test_any_other_answer_is_an_error() -> None:
    """A bridge that fails fast would look cheap."""

    def answer(seen: Seen) -> Answer:
        assert seen.path == "/openai/v1/responses"
        return Answer(status=500, body=document())

    async with Provider(answer, keep=False) as provider:
        outcome = await load(few(provider, "json"))
    assert outcome.errors == 5


async def test_a_short_run_tells_what_telemetry_costs() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.telemetry", "--quick"), cwd=ROOT, stdout=subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    assert re.findall(r"ratio (.*): \d+\.\d\d \(", told.decode()) == ["unsampled to off", "sampled to off"]


async def test_a_short_run_prints_both_ratios() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.ratios", "--quick", *FEW), cwd=ROOT, stdout=subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    assert "answered after 1 ms; streams of 10 events, one every 1 ms" in " ".join(told.decode().split())
    assert re.findall(r"ratio per (.*): \d+\.\d\d \(", told.decode()) == ["JSON request", "SSE event"]
