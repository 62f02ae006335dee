"""`aibridge-sidecar up` in a folder of its own: started, waited for, told to stop."""

import os
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.ports import LOOPBACK, number, reserved

READY = 60.0  # seconds: a busy machine takes its time
STOPPED = 25.0  # seconds: it promises 20
_POLL = 0.05
_OK = 200
# What would be settings: the example shall be the same on every machine.
_OURS = ("AIBRIDGE_", "OPENAI_", "OTEL_")


class NotRunning(Exception):
    """It did not start, or not stop, as it should; one line says why."""


class Bridge:
    """A context manager: inside it serves at `url`; afterwards nothing of it is left.

    `settings` is TOML; where things are, `folder`, need not be in it. Raises NotRunning.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        self._held = (reserved(), reserved())
        listen, admin = map(number, self._held)
        self.url = f"http://{LOOPBACK}:{listen}"
        self.database = folder / "aibridge.db"
        self._port = listen
        self._log = folder / "output.log"
        self._config = folder / "aibridge.toml"
        self._config.write_text(
            f'listen = "{LOOPBACK}:{listen}"\nadmin = "{LOOPBACK}:{admin}"\nruntime_dir = "{folder}/run"\n{settings}\n'
            f'[recorder]\nurl = "sqlite:///{self.database}"\n'
        )

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the program this example is about
                [sys.executable, "-m", "sidecar", "up", "--config", str(self._config)],
                env={name: value for name, value in os.environ.items() if not name.upper().startswith(_OURS)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._end()

    def processes(self) -> list[int]:
        """The pids of all that runs: the parent first, then Envoy and the workers."""
        parent = self._process.pid
        return [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]

    def stop(self) -> int:
        """Its exit status after SIGTERM."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOPPED)
        except subprocess.TimeoutExpired:
            msg = f"the bridge was still there {STOPPED:g} s after SIGTERM"
            raise NotRunning(msg) from None

    def _wait(self) -> None:
        late = time.monotonic() + READY
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > late:
                lines = self._log.read_text("utf-8", "replace").split("\n")
                msg = next((line for line in reversed(lines) if line.strip()), "the bridge did not start")
                raise NotRunning(msg)
            time.sleep(_POLL)

    def _is_ready(self) -> bool:
        connection = HTTPConnection(LOOPBACK, self._port, timeout=1.0)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == _OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _end(self) -> None:
        """End what is left. Killed, it takes its children with it, too."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOPPED)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for held in self._held:
            held.close()


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False
