"""What can be told of `bench.peers` with none of the peers installed."""

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bench.document import written
from bench.exchanges import answers
from bench.load import Load, load
from bench.peers.makes import UNLISTED, Counts, makes
from bench.peers.measuring import Fidelity, Round
from bench.peers.results import kept, tables, verdicts
from bench.peers.running import lock
from bench.ways import ACKS, QUICK
from examples.answers import Answer, Seen
from examples.provider import Provider

ROOT = Path(__file__).parent.parent
OURS = Round(
    name="sidecar", requests=9, rate=600, p50=10, p99=20, p50_alone=2, p99_alone=4, cpu=900, memory=1 << 27, errors=0
)
LITELLM = replace(OURS, name="LiteLLM, usage logging on", rate=20, p50=100, p50_alone=5)
PORTKEY = replace(OURS, name="Portkey, records nothing", rate=300, p50_alone=2.5)
KEPT = Fidelity(name="sidecar", json="unchanged", sse="unchanged", kept=Counts(records=8, usage=8), left=None)


def test_a_ratio_is_ours_to_a_peers_with_what_it_may_be() -> None:
    told = list(verdicts([OURS, LITELLM, PORTKEY]))
    assert told == [
        "requests/s against LiteLLM, usage logging on, 16 connections: 30.00 (30.00, 30.00), at least: 20",
        "p50 against LiteLLM, usage logging on, 16 connections: 0.10 (0.10, 0.10), at most: 0.05",
        "p50 against LiteLLM, usage logging on, 1 connection: 0.40 (0.40, 0.40), at most: 0.2",
        "requests/s against Portkey, records nothing, 16 connections: 2.00 (2.00, 2.00), at least: 1.5",
        "p50 against Portkey, records nothing, 16 connections: 1.00 (1.00, 1.00)",
        "p50 against Portkey, records nothing, 1 connection: 0.80 (0.80, 0.80), at most: 1.3",
        f"not measured, being in no package registry: {', '.join(UNLISTED)}",
    ]


def test_beside_it_stands_what_the_quick_server_and_the_acking_processor_come_to() -> None:
    """A setting away, and what ours cannot reach, however little it does itself. Neither is a peer."""
    quick, acks = (replace(OURS, name=name, rate=rate) for name, rate in ((QUICK, 700), (ACKS, 900)))
    first, *others = verdicts([OURS, quick, acks, LITELLM])
    beside = "with the completion queue: 35.00 (35.00, 35.00); the acking processor: 45.00 (45.00, 45.00)"
    assert first.endswith(f"30.00 (30.00, 30.00), at least: 20; {beside}")
    assert not any(f"against {QUICK}" in told for told in others)


def test_no_ratio_is_made_of_answers_that_failed() -> None:
    """Who fails fast would look quick."""
    told, _ = verdicts([OURS, replace(PORTKEY, errors=1)])
    assert told == "against Portkey, records nothing: no ratio, since 1 answers failed"


def test_who_could_not_be_measured_has_a_row_that_says_why() -> None:
    speed, _ = tables([OURS], [KEPT], {"MLflow, usage tracking on": "there is no npm"})
    assert speed.rows[-1][0] == "MLflow, usage tracking on: not measured: there is no npm"
    assert {len(row) for row in speed.rows} == {len(speed.head)}


@pytest.mark.parametrize(
    ("name", "found", "told"),
    [
        ("x", Counts(records=4, usage=3), "recorded, 3 of 4"),
        ("x", Counts(records=4, usage=0), "the exchange, 4 of 4, no usage"),
        ("x", Counts(records=0, usage=0), "no"),
        ("x, usage logging off", None, "off"),
        ("x", None, "not offered"),
    ],
)
def test_what_is_written_down_is_told_in_words(name: str, found: Counts | None, told: str) -> None:
    assert kept(name, found, 4) == told


def test_usage_counts_where_it_is_the_providers(tmp_path: Path) -> None:
    """LiteLLM's lines, and MLflow's table."""
    found = makes("http://127.0.0.1:1")
    lines = ({"prompt_tokens": 1234, "completion_tokens": 321}, {"prompt_tokens": 0, "completion_tokens": 0})
    (tmp_path / "usage.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE trace_info (input_tokens INT, output_tokens INT)")
        database.execute("INSERT INTO trace_info VALUES (1234, 321), (NULL, NULL)")
    for name in ("litellm", "mlflow"):
        counts = found[name].counts
        assert counts
        assert counts(tmp_path) == Counts(records=2, usage=1)


def test_every_package_is_locked_to_the_byte_and_none_is_known_to_carry_malware() -> None:
    for package in {one.package for one in makes("").values()}:
        text = lock(package).read_text()
        if lock(package).suffix == ".lock":
            pinned = re.findall(r"^\S+==\S+.*\\\n    --hash=sha256:", text, re.MULTILINE)
            assert len(pinned) == len(re.findall(r"^\S", text, re.MULTILINE)) > 50
            assert re.findall(r"^litellm==(\S+)", text, re.MULTILINE) == ["1.82.6"]
        else:
            packages = json.loads(text)["packages"]
            assert all("integrity" in one for name, one in packages.items() if name)


@pytest.mark.parametrize("kind", ["json", "sse"])
async def test_an_answer_that_was_changed_is_told_from_one_that_failed(kind: str) -> None:
    """On the peer's path, with the headers that it takes."""
    asked = list[Seen]()

    def answer(seen: Seen) -> Answer:
        asked.append(seen)
        found = answers(10, 0.0, 0.0)(seen)
        return found if len(asked) % 2 else replace(found, status=500)

    async with Provider(answer, keep=False) as provider:
        address = provider.url.removeprefix("http://")
        what = Load(address=address, kind=kind, connections=1, requests=4, events=11, path="/v1/x", more="x-a: b\n")
        outcome = await load(what)
    assert (outcome.errors, outcome.altered) == ((2, 0) if kind == "json" else (4, 2))
    assert {seen.path for seen in asked} == {"/v1/x"}


@pytest.mark.parametrize("body", [b'{"stream": true}', b'{"stream":true}'])
async def test_a_stream_is_asked_for_with_blanks_or_without(body: bytes) -> None:
    """Gateways write the request's JSON anew."""
    asked = list[Seen]()

    def answer(seen: Seen) -> Answer:
        asked.append(replace(seen, body=body))
        return answers(10, 0.0, 0.0)(asked[0])

    async with Provider(answer, keep=False) as provider:
        address = provider.url.removeprefix("http://")
        outcome = await load(Load(address=address, kind="sse", connections=1, requests=1, events=10))
    assert outcome.errors == 0


def test_the_report_has_a_place_for_peers(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_bytes((ROOT / "docs/performance.md").read_bytes())
    written(page, "peers", [], [])
    assert all(name in page.read_text() for name in UNLISTED)
