"""The benchmarks run, and measure what they say: no figure is judged here."""

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from bench.__main__ import SECTIONS
from bench.bridges import ALONE, bridge
from bench.document import written
from bench.exchanges import answers, document, pieces, request
from bench.growth import fill
from bench.listening import listen
from bench.load import Load, load
from bench.pictures import Bar, Picture
from bench.tables import Table
from bench.ways import provider
from examples.answers import Answer, Seen
from examples.provider import Provider
from sidecar.recorder.journal.migration import migrate

ROOT = Path(__file__).parent.parent
FEW = Load(address="", kind="json", connections=2, requests=5, events=10)


def few(provider: Provider, kind: str) -> Load:
    return replace(FEW, address=provider.url.removeprefix("http://"), kind=kind)


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


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (
            "ratios",
            [
                f"{shape}{server}, to"
                for shape in ("JSON request, 16 connections", "JSON request, 64 connections", "SSE event, 16 streams")
                for server in ("", ", with the completion queue")
            ],
        ),
        ("telemetry", ["JSON request, telemetry unsampled, to", "JSON request, telemetry sampled, to"]),
    ],
)
async def test_a_short_run_prints_its_ratios(section: str, told: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench", "--quick", "--only", section), cwd=ROOT, stdout=subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    assert re.findall(r"^CPU per (.* to) \w+: \d+\.\d\d \(", printed.decode(), re.MULTILINE) == told


async def test_an_events_delay_is_measured_and_its_bytes_are_compared() -> None:
    """Against the ticking provider itself: nothing between, so nothing is late, lost or changed."""
    with provider("bench.ticking") as url:
        heard = await listen(url.removeprefix("http://"), 3, 20, 0.005)
    assert (heard.events, heard.errors) == (60, 0)
    assert 0 < heard.delay.p50 <= heard.delay.p99
    assert heard.first.p50 > 0


async def test_a_stream_that_is_not_the_providers_is_an_error() -> None:
    async with Provider(answers(20, 0.0, 0.0), keep=False) as other:
        heard = await listen(other.url.removeprefix("http://"), 2, 20, 0.005)
    assert (heard.events, heard.errors) == (40, 2)


def test_envoy_alone_carries_the_same_bytes(tmp_path: Path) -> None:
    with provider("bench.provider", 10, 0.0, 0.0) as url, bridge("alone", ALONE, tmp_path / "alone", url) as one:
        for kind in ("json", "sse"):
            outcome = asyncio.run(load(replace(FEW, address=one.settings.listen, kind=kind)))
            assert outcome.errors == 0
        assert one.cost().messages == 0


def test_what_fills_a_journal_is_what_a_request_leaves_there(tmp_path: Path) -> None:
    database = tmp_path / "records.db"
    migrate(database)
    fill(database, 5)
    with closing(sqlite3.connect(database)) as connection:
        tables = ("interceptions", "user_prompts", "token_usages", "tool_usages")
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]  # noqa: S608 - ours
        open_ones = connection.execute("SELECT count(*) FROM interceptions WHERE ended_at IS NULL").fetchone()[0]
    assert (counts, open_ones) == ([5, 5, 5, 5], 0)


def test_figures_stand_between_their_marks_and_nothing_else_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("words\n<!-- begin soak -->\nold\n<!-- end soak -->\nmore\n<!-- begin x -->\n<!-- end x -->\n")
    written(page, "soak", [Table(title="Soak", head=("", "MiB"), rows=(("idle", "1"),))], ["grown: 1.00"])
    text = page.read_text()
    assert text.startswith("words\n<!-- begin soak -->\n\n### Soak\n\n|  | MiB |\n| --- | ---: |\n| idle | 1 |\n")
    assert "- grown: 1.00\n" in text
    assert "old" not in text
    assert text.endswith("<!-- end soak -->\nmore\n<!-- begin x -->\n<!-- end x -->\n")
    with pytest.raises(ValueError, match="no place for other"):
        written(page, "other", [], [])


def test_the_report_has_a_place_for_every_section(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_bytes((ROOT / "docs/performance.md").read_bytes())
    for section in SECTIONS:
        written(page, section, [], [])


def test_the_longest_bar_is_the_greatest_and_the_same_stands_in_words(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin json -->\n<!-- end json -->\n")
    bars = [Bar(label="Envoy & acks", value=100.0), Bar(label="sidecar", value=150.0, ours=True)]
    written(page, "json", [], [], [Picture(name="json", title="CPU < 200 us", bars=bars)])
    assert "![CPU < 200 us](page-json.svg)" in page.read_text()
    picture = fromstring((tmp_path / "page-json.svg").read_text())  # noqa: S314 - we wrote it
    space = "{http://www.w3.org/2000/svg}"
    acks, ours = (float(bar.attrib["width"]) for bar in picture.iter(f"{space}rect"))
    assert ours == pytest.approx(1.5 * acks, abs=0.1)
    assert picture.findtext(f"{space}desc") == "Envoy & acks: 100; sidecar: 150"
