"""A Recorder service that goes and comes back: the port, the file and the records are the same each time."""

import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

from examples.ports import number, reserved
from tests.e2e.bridges import STOPPED_WITHIN, launched
from tests.e2e.waiting import eventually


class ReturningService:
    """A context manager, after which nothing of it is left; it runs from `start` on, until it is ended."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "service.db"
        self.folder = folder
        self._port = reserved()
        self.port = number(self._port)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"grpc://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.SubprocessError):
            self._ended(signal.SIGKILL)
        self._port.close()

    @property
    def output(self) -> str:
        """What it has written since its last start."""
        return (self.folder / "output.log").read_text()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "service.toml"
        file.write_text(f'[recorder]\nurl = "sqlite:///{self.database}"\n[service]\nlisten = "127.0.0.1:{self.port}"\n')
        self._process = process = launched(self.folder, file, "recorder")
        eventually(lambda: '"ready"' in self.output or process.poll() is not None, "a Recorder service")
        assert process.poll() is None, self.output

    def stop(self) -> None:
        """Tell it to end, and wait until it has."""
        assert self._ended(signal.SIGTERM) == 0

    def kill(self) -> None:
        """End it as a crash would."""
        self._ended(signal.SIGKILL)

    def _ended(self, by: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(by)
        return self._process.wait(STOPPED_WITHIN)
