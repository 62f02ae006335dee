"""Fuzzing led by coverage, where atheris is installed: it finds what hypothesis is not told to try.

A few seconds of it, always the same; `make fuzz` looks for minutes, elsewhere each time.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.e2e.bridges import ROOT, environment

SECONDS = settings().max_examples // 20  # 5, or 500
SEED = 1 if settings().derandomize else 0  # 0: another one each time
# What leads into each reader at once: its number, and the beginning of something sound.
SEEDS = {
    "message": b"\0*\x05\n\x03abc",
    "events": b'\1data: {"type":"response.completed","response":{"id":"r","output":[]}}\n\n',
    "document": b'\2{"model":"m","input":[{"role":"user","content":"hi"}],"stream":true}',
    "encoded": b"\3\0\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0",
    "exchange": b'\4identity\0{"model":"m","input":"hi"}',
    "settings": b'\5listen = "127.0.0.1:10000"\n[[providers]]\nname = "a"\nbase_url = "https://b.example"\n[limits]\n',
}


def test_nothing_that_coverage_leads_to_is_a_crash_a_hang_or_much_memory(tmp_path: Path) -> None:
    """The fuzzer ends itself at an exception, an input of more than some seconds, or more memory than it may have."""
    pytest.importorskip("atheris", reason="a tool of its own, for which not every Python has a wheel")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, seed in SEEDS.items():
        (corpus / name).write_bytes(seed)
    # What it is told to have had at most, a process takes over from the one that started it.
    memory = 512 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    limits = ["-timeout=10", f"-rss_limit_mb={memory}", "-max_len=4096", f"-max_total_time={SECONDS}", f"-seed={SEED}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.guided", *limits, f"-artifact_prefix={tmp_path}/", str(corpus)],
        cwd=ROOT,
        env=environment() | {"PYTHONPATH": os.pathsep.join(filter(None, map(str, sys.path)))},
        capture_output=True,
        timeout=SECONDS + 120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-3000:]
    assert len(list(corpus.iterdir())) > len(SEEDS)
