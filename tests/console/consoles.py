"""`aibridge-sidecar console` as an operator runs it, and a browser's requests to it."""

import http.client
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

from sidecar.settings import Settings
from tests.e2e.bridges import ROOT, environment, free_ports, written
from tests.e2e.waiting import PATIENCE, eventually

SINCE, UNTIL = "2001-09-09", "2001-09-10"  # the days of the samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    def link(self, words: str) -> str | None:
        """Where the first link with these words leads."""
        found = re.search(rf'<a[^>]* href="([^"]*)"[^>]*>{re.escape(words)}</a>', self.text)
        return unescape(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Console:
    """One that runs, or has run."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text()

    def get(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        """What one request gives."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(status=answer.status, headers=found, text=answer.read().decode())

    def dated(self, path: str, **more: str) -> Answer:
        """A page over the days of the samples."""
        return self.get(f"{path}?{urlencode({'since': SINCE, 'until': UNTIL} | more)}")

    def stop(self) -> int:
        """Its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextmanager
def begun(folder: Path, recorder: Mapping[str, object], port: int = 0, **settings: object) -> Iterator[Console]:
    """One that was started, and is gone afterwards. `settings`: of `[console]`, over a free port on loopback."""
    folder.mkdir(exist_ok=True)
    port = port or free_ports()[0]
    console = {"listen": f"127.0.0.1:{port}"} | settings
    file = written(folder, (port, 1), {"listen": "127.0.0.1:2", "recorder": recorder, "console": console})
    command = [sys.executable, "-m", "sidecar", "console", "--config", str(file)]
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield Console(process, port, folder / "output.log")
    finally:
        process.kill()
        process.wait()


@contextmanager
def console(folder: Path, settings: Settings, **more: object) -> Iterator[Console]:
    """One that is ready, over the store of these settings."""
    recorder: dict[str, object] = {"url": settings.recorder.url}
    if settings.recorder.password:
        recorder["password"] = settings.recorder.password.get_secret_value()
    with begun(folder, recorder, **more) as started:
        eventually(lambda: '"ready"' in started.output or started.process.poll() is not None, "a console")
        assert started.process.poll() is None, started.output
        yield started
