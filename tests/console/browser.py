"""Debian's Chromium, headless, told what to do over a pipe (the Chrome DevTools Protocol)."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Any

from tests.e2e.waiting import PATIENCE

CHROMIUM = shutil.which("chromium")
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr")


@dataclass(frozen=True, slots=True)
class Browser:
    """One page of it."""

    orders: IO[bytes]
    answers: IO[bytes]
    session: str = ""
    numbers: Iterator[int] = field(default_factory=count)

    def tell(self, method: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
        """What the answer says."""
        number = next(self.numbers)
        order = {"id": number, "method": method, "params": parameters}
        told = order | ({"sessionId": self.session} if self.session else {})
        self.orders.write(json.dumps(told).encode() + b"\0")
        self.orders.flush()
        answer = self._until("id", number)
        assert "error" not in answer, answer
        return answer["result"]

    def show(self, url: str, width: int, scheme: str = "light") -> None:
        """Load a page into a window so wide, `scheme`: light or dark."""
        self.tell("Page.enable")
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.tell("Page.navigate", url=url)
        self._until("method", "Page.loadEventFired")

    def found(self, expression: str) -> Any:  # noqa: ANN401 - JSON
        """What an expression of JavaScript gives on the page. Its own policy forbids none to us."""
        return self.tell("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def picture(self) -> bytes:
        """The whole page as a PNG."""
        return base64.b64decode(self.tell("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _until(self, key: str, value: object) -> Any:  # noqa: ANN401 - JSON
        while True:
            message = json.loads(_message(self.answers))
            if message.get(key) == value:
                return message


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """One that runs, with a profile of its own in `folder`; it ends when its pipe does, if not before."""
    (orders_in, orders), (answers, answers_out) = os.pipe(), os.pipe()
    command = [str(CHROMIUM), *QUIET, "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
    process = _started(command, orders_in, answers_out)
    with os.fdopen(orders, "wb") as writing, os.fdopen(answers, "rb") as reading:
        try:
            whole = Browser(writing, reading)
            target = whole.tell("Target.createTarget", url="about:blank")["targetId"]
            session = whole.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            yield Browser(writing, reading, session, whole.numbers)
            whole.tell("Browser.close")
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()


def _started(command: Sequence[str], orders: int, answers: int) -> subprocess.Popen[bytes]:
    """It reads from 3 and writes to 4."""
    shell = ["bash", "-c", f'exec 3<&{orders} 4>&{answers} "$@"', "bash", *command]
    kept = (orders, answers)
    try:
        return subprocess.Popen(
            shell, pass_fds=kept, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    finally:
        for descriptor in kept:
            os.close(descriptor)


def _message(answers: IO[bytes]) -> bytes:
    found = bytearray()
    while (byte := answers.read(1)) not in {b"\0", b""}:
        found += byte
    return bytes(found)
