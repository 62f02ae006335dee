"""A Recorder service that runs once, with the settings that a test wants; and certificates for it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from sidecar.settings import Recorder
from tests.e2e.bridges import ROOT, environment, free_ports, written
from tests.e2e.waiting import PATIENCE, eventually

_IMPATIENT = "from sidecar import cli, service; service.GRACE = service.CLOSING = 0.1; cli.main()"


class Service:
    """One that runs, or has run."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.folder = folder
        self.process = process
        self.address = f"127.0.0.1:{port}"

    @property
    def output(self) -> str:
        """What it has written so far."""
        return (self.folder / "output.log").read_text("utf-8", "replace")

    def client(self, **settings: object) -> Recorder:
        """A sidecar's settings to reach it; with files of certificates over TLS."""
        scheme = "grpcs" if settings else "grpc"
        return Recorder(url=f"{scheme}://{self.address}", **settings)  # type: ignore[arg-type] # pydantic's to check

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(by)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End it if it still runs."""
        self.process.kill()
        self.process.wait()


@contextmanager
def begun(
    folder: Path, url: str, *, impatient: bool = False, retention_days: int = 0, **settings: object
) -> Iterator[Service]:
    """One that was started, and is gone afterwards. `settings`: of `[service]`, over a free port on loopback.

    `impatient`: what is under way at its end has nearly no time.
    """
    folder.mkdir(exist_ok=True)
    port, _ = free_ports()
    recorder = {"url": url, "retention_days": retention_days}
    section = {"listen": f"127.0.0.1:{port}"} | settings
    file = written(folder, (port, 1), {"listen": "127.0.0.1:2", "recorder": recorder, "service": section})
    started = Service(folder, _launched(folder, file, ("-c", _IMPATIENT) if impatient else ("-m", "sidecar")), port)
    try:
        yield started
    finally:
        started.kill()


def _launched(folder: Path, file: Path, how: tuple[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "output.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *how, "recorder", "--config", str(file)],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@contextmanager
def service(folder: Path, url: str, *, retention_days: int = 0, **settings: object) -> Iterator[Service]:
    """The same, ready."""
    with begun(folder, url, retention_days=retention_days, **settings) as started:
        eventually(lambda: '"ready"' in started.output or started.process.poll() is not None, "a service")
        assert started.process.poll() is None, started.output
        yield started


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Paths: an authority, a certificate by it for 127.0.0.1, that one's key."""

    ca: Path
    cert: Path
    key: Path


def certificates(folder: Path) -> Certificates:
    """By an authority of their own."""
    folder.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    made = Certificates(ca=folder / "ca.pem", cert=folder / "cert.pem", key=folder / "key.pem")
    authority.cert_pem.write_to_path(made.ca)
    issued.private_key_pem.write_to_path(made.key)
    for one in issued.cert_chain_pems:
        one.write_to_path(made.cert, append=True)
    return made
