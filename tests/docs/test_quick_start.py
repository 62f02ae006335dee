"""The quick start, typed as it is printed, but with an example provider in place of OpenAI's, and free ports."""

import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.provider import Provider, ThreadedProvider
from tests.docs.pages import ROOT
from tests.e2e.bridges import STOPPED_WITHIN, environment, free_ports
from tests.e2e.connections import serves
from tests.e2e.waiting import eventually

PAGE = (ROOT / "docs/index.md").read_text()
KEY = "sk-example-0123456789abcdefghij"
UP = ".venv/bin/aibridge-sidecar up"
# A block to type, and what it answers where that is printed below it.
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
BLOCKS = [(typed, answers.splitlines()) for typed, answers in BLOCK.findall(PAGE)]


class Terminal:
    """Where a newcomer types: in a folder with what `make` has installed."""

    def __init__(self, folder: Path, provider: str) -> None:
        self.folder = folder
        self.port, admin = free_ports()
        (folder / ".venv").symlink_to(sys.prefix)
        settings = {
            "AIBRIDGE_LISTEN": f"127.0.0.1:{self.port}",
            "AIBRIDGE_ADMIN": f"127.0.0.1:{admin}",
            "AIBRIDGE_TELEMETRY__METRICS": "",
        }
        self._environment = environment() | settings | {"COLUMNS": "80"}
        self._instead = {"127.0.0.1:10000": f"127.0.0.1:{self.port}", "https://api.openai.com/v1": f"{provider}/v1"}

    def typed(self, text: str) -> str:
        """What it answers; AssertionError when it fails."""
        done = subprocess.run(
            ["/bin/sh", "-c", self._here(text)],
            cwd=self.folder,
            env=self._environment,
            input=KEY + "\n",  # what is pasted where something is
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}{done.stdout}{done.stderr}"
        return done.stdout

    def other(self, text: str) -> subprocess.Popen[bytes]:
        """The same in another terminal, where it stays; what it says goes to `output.log`."""
        with (self.folder / "output.log").open("wb") as log:
            words = ["/bin/sh", "-c", f"exec {self._here(text)}"]
            return subprocess.Popen(words, cwd=self.folder, env=self._environment, stdout=log, stderr=log)

    def _here(self, text: str) -> str:
        for printed, ours in self._instead.items():
            text = text.replace(printed, ours)
        return text


@pytest.fixture(scope="module")
def provider() -> Iterator[ThreadedProvider]:
    """One that likes the provider's key alone."""
    with ThreadedProvider(Provider(keys=frozenset({KEY}), pace=0)) as running:
        yield running


@pytest.mark.skipif(shutil.which("curl") is None, reason="the quick start asks with curl")
def test_it_leads_to_a_protected_recording_way_out(tmp_path: Path, provider: ThreadedProvider) -> None:
    """Refused without a key, and by policy; answered and recorded with one; nothing of it readable for others."""
    here = Terminal(tmp_path, provider.url)
    up = [typed.strip() for typed, _ in BLOCKS].index(UP)
    for typed, _ in BLOCKS[:up]:
        here.typed(typed)
    running = here.other(BLOCKS[up][0])
    try:
        eventually(lambda: serves(here.port) or running.poll() is not None, "ready")
        for typed, answers in BLOCKS[up + 1 :]:
            said = here.typed(typed)
            assert [line for line in answers if line not in said.replace('": "', '":"')] == [], said
        running.send_signal(signal.SIGINT)
        assert running.wait(STOPPED_WITHIN) == 0
    finally:
        running.kill()
        running.wait()
    secret = [tmp_path / name for name in ("clients.keys", "openai-key", "aibridge.db")]
    assert [path for path in secret if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    told = (tmp_path / "output.log").read_text()
    assert "ready" in told
    assert [key for key in (KEY, secret[0].read_text().split()[0]) if key in told] == []


def test_every_command_of_the_page_is_tried() -> None:
    """But those that get the sources and show the demo, which `test_demo.py` has."""
    assert len(BLOCKS) == PAGE.count("\n```sh\n")
    assert PAGE.count("\n```text\n") == sum(bool(answers) for _, answers in BLOCKS)
    untried = re.findall(r"^```\n(.*?)^```\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert [block.splitlines()[-1] for block in untried if block.startswith("git clone")] == ["make demo"]
    assert PAGE.count("\n```") == 2 * (len(BLOCKS) + sum(bool(answers) for _, answers in BLOCKS) + 1)
