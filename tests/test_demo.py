"""The demo, as a stranger runs it first."""

import os
import re
import subprocess
import sys
from collections import Counter
from itertools import dropwhile, islice, takewhile
from pathlib import Path

from rich.console import Console

from examples.bridge import is_running
from examples.demo import demo
from examples.otlp_receiver import Receiver, Span

ROOT = Path(__file__).parents[1]
# Of each interception, beside the spans of what it recorded.
ALWAYS = (
    "ingress",
    "async envoy.service.ext_proc.v3.ExternalProcessor.Process egress",
    "Intercept",
    "Intercept.CreateInterceptor",
    "Intercept.RecordInterception",
    "Intercept.ProcessRequest",
    "Intercept.RecordInterceptionEnded",
)


def run(**environment: str) -> tuple[subprocess.CompletedProcess[str], int]:
    """What it printed, and the session that all its processes were in."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    output, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors), process.pid


def running(session: int) -> list[str]:
    """The processes of a session that have not ended, with their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and is_running(int(folder.name)):
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return found


def told(text: str, heading: str) -> list[list[str]]:
    """The rows of the table under `heading`, in words, without its rule and its headings."""
    lines = dropwhile(lambda line: "─" not in line, text.partition(heading)[2].splitlines())
    return [line.split() for line in takewhile(str.strip, islice(lines, 1, None))]


def drawn(text: str) -> list[str]:
    """The lines of the tree, from above."""
    return re.findall("[├└]── (.*)", text)


def in_order(spans: tuple[Span, ...], parent: str = "") -> list[Span]:
    """The spans as a tree is read: each before those below it, which come by their start."""
    below = sorted((span for span in spans if span.parent_id == parent), key=lambda span: (span.start, -span.end))
    return [found for span in below for found in (span, *in_order(spans, span.span_id))]


def test_demo_shows_what_the_client_saw_and_what_is_recorded() -> None:
    """No key, no network, no configuration; and nothing of it is left."""
    done, session = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert running(session) == []
    for line in (
        "  1   JSON         Who carries the bytes?      200      Envoy carries the bytes, the sidecar reads along",
        "  2   streaming    And who reads along?        200      Envoy carries the bytes, the sidecar reads along",
        '  3   tool call    Will it rain in Oslo?       200      weather({"city": "Oslo", "days": 7})',
        "  4   background   Think about it overnight.   501      background requests are currently not supported by AI",
        "✓ the provider got the first three, byte for byte as they were sent",
        "✓ SIGTERM: exit status 0, all 4 processes gone",
    ):
        assert line in done.stdout
    assert told(done.stdout, "What is recorded: interceptions") == [
        ["1", "ada", "example-large", "completed", "200"],
        ["2", "ada", "example-large", "completed", "200"],
        ["3", "ada", "example-large", "completed", "200"],
        ["4", "ada", "example-large", "failed", "rejected", "501"],
    ]
    assert told(done.stdout, "What is recorded: token_usages") == [
        ["1", "3", "1", "46"],
        ["2", "3", "1", "46"],
        ["3", "4", "1", "15"],
    ]
    assert '  3   function_call   weather   {"city": "Oslo", "days": 7}' in done.stdout


def test_tree_of_the_demo_is_what_the_receiver_got(tmp_path: Path) -> None:
    """Each span once, under its own parent, and nothing that was not sent."""
    console = Console(width=200, record=True, file=(tmp_path / "shown").open("w"))
    with Receiver() as receiver, console.file:
        demo(console, tmp_path, receiver)
        spans = receiver.spans
    lines = drawn(console.export_text())
    assert len(lines) == len(spans)
    for line, span in zip(lines, in_order(spans), strict=True):
        assert line.startswith(f"{span.name} {(span.end - span.start) / 1e6:.1f}ms")
    assert Counter(span.name for span in spans) == {
        **dict.fromkeys(ALWAYS, 4),
        "router provider-openai egress": 3,
        "Intercept.ProcessRequest.Upstream": 3,
        "Intercept.RecordPromptUsage": 3,
        "Intercept.RecordTokenUsage": 3,
        "Intercept.RecordModelThought": 2,
        "Intercept.RecordToolUsage": 1,
    }


def test_failing_demo_says_why_in_one_line(tmp_path: Path) -> None:
    """Here the folder's name is too long for a Unix socket."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    done, session = run(TMPDIR=str(long))
    assert done.returncode == 1
    assert done.stderr.startswith("demo: aibridge-sidecar: runtime_dir = ")
    assert done.stderr.count("\n") == 1
    assert running(session) == []
