"""`aibridge-sidecar up` as an operator runs it: a file of settings, a process, a journal."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from types import MappingProxyType
from typing import Any

from examples.ports import number, reserved
from tests import binary
from tests.e2e import processes, recorded
from tests.e2e.connections import ask
from tests.e2e.recorded import Records, Row
from tests.e2e.waiting import PATIENCE, eventually

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "sidecar")
CENTRAL_KEY = "sk-central-canary-0a1b2c3d4e5f6071"
STOPPED_WITHIN = 35.0  # seconds: `up` promises 20 and waits for nothing longer; a busy machine adds its own
_TRIES = 5
# Seconds, just below Envoy's own patience: a disk that others use too may take longer than an operator likes.
_LIMITS = {"start_commit_timeout": 4.0, "end_commit_timeout": 4.0}
Ports = tuple[int, int]
_held: list[socket.socket] = []
_OURS = ("AIBRIDGE_", "OPENAI_", "OTEL_", "SSL_CERT_")


class Bridge(Records):
    """One that runs, or has run. `url` is where clients go."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], ports: Ports, *, closed: bool = False) -> None:
        """`closed`: only who has a certificate gets an answer."""
        self.folder = folder
        self.process = process
        self.port, self.admin = ports
        self._closed = closed
        self.url = f"http://127.0.0.1:{self.port}"
        self.run = folder / "run"
        self.database = folder / "records.db"
        self.log = folder / "output.log"

    @property
    def output(self) -> str:
        """What it and its children have written to their standard output and error."""
        return self.log.read_text("utf-8", "replace")

    def complaints(self) -> list[str]:
        """The lines that say that a file has changed, and cannot be used."""
        return [line for line in self.output.splitlines() if "cannot be used" in line]

    def rows(self, sql: str, *values: object) -> list[Row]:
        """Rows of the journal, now."""
        return recorded.rows(self.database, sql, *values)

    def access(self, **fields: object) -> list[dict[str, Any]]:
        """The lines of the access log that have these fields."""
        lines = (self.run / "access.log").read_text().splitlines()
        entries = (json.loads(line) for line in lines)
        return [entry for entry in entries if fields.items() <= entry.items()]

    def accessed(self, **fields: object) -> dict[str, Any]:
        """The one line of the access log that has these fields, as soon as Envoy has written it."""
        (line,) = eventually(lambda: self.access(**fields), f"an access log line with {fields}")
        return line

    def health(self) -> int:
        """The status of /healthz, or what it would be if anybody could ask; 0 when nobody answers."""
        try:
            if self._closed:
                return 200 if self.statistic("cluster.sidecar.membership_healthy") else 503
            return ask(self.port, "", method="GET", path="/healthz").status
        except (OSError, EOFError):
            return 0

    def children(self) -> list[int]:
        """The pids of Envoy and the workers."""
        return processes.children(self.process.pid)

    def workers(self) -> list[int]:
        """The pids of the workers that serve, in their order."""
        sockets = sorted(self.run.glob("*.sock"))
        found = ([pid for pid in self.children() if processes.listens(pid, path)] for path in sockets)
        return [pid for pids in found for pid in pids]

    def worker(self) -> int:
        """The only worker's pid, once it serves. Envoy may still believe in a predecessor, or not yet in this one."""
        eventually(lambda: self.health() == 200 and self._reaches_a_worker(), "a worker that serves")
        (worker,) = self.workers()
        return worker

    def envoy(self) -> int:
        """Envoy's pid."""
        (found,) = (pid for pid in self.children() if "envoy.yaml" in processes.command(pid))
        return found

    def statistic(self, name: str) -> int:
        """What Envoy counts under this name, now."""
        connection = HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE)
        try:
            connection.request("GET", f"/stats?filter=^{name}$")
            return int(connection.getresponse().read().rpartition(b": ")[2])
        finally:
            connection.close()

    def heard(self) -> int:
        """How many replies Envoy has had from the workers."""
        return self.statistic("http.aibridge.ext_proc.sidecar.stream_msgs_received")

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status, once it was told to stop; TimeoutExpired when that takes longer than promised."""
        self.process.send_signal(by)
        return self.process.wait(STOPPED_WITHIN)

    def kill(self) -> None:
        """Leave nothing of it behind."""
        children = self.children()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in filter(processes.is_running, children):
            with suppress(ProcessLookupError):  # they hear of their parent's end, too
                os.kill(pid, signal.SIGKILL)

    def _reaches_a_worker(self) -> bool:
        """Whether a request gets so far, where it is refused."""
        return ask(self.port, "", b"no JSON").status == 400


@contextmanager
def bridge(
    folder: Path,
    provider: str,
    ports: Ports | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
    **settings: object,
) -> Iterator[Bridge]:
    """One that is ready, in front of the provider at that URL unless `settings` name others; gone afterwards.

    `ports`: for clients and for Envoy's admin interface; None: any that are free. `variables`: of its environment.
    """
    usual = {"providers": [{"name": "openai", "base_url": f"{provider}/v1", "api_key": CENTRAL_KEY}]}
    started = _started(folder, ports, usual | settings, variables)
    try:
        yield started
    finally:
        started.kill()


def written(folder: Path, ports: Ports, settings: Mapping[str, object]) -> Path:
    """The file with these settings and, where they say nothing, with everything in `folder`."""
    usual = {
        "listen": f"127.0.0.1:{ports[0]}",
        "admin": f"127.0.0.1:{ports[1]}",
        "runtime_dir": str(folder / "run"),
        "recorder": {"url": f"sqlite:///{folder}/records.db"},
        "telemetry": {"metrics": ""},
    }
    if binary.OTHER:  # in the file: a variable would win against a test that has an Envoy of its own
        usual["envoy"] = binary.OTHER
    if "AIBRIDGE_GRPC_SERVER" in os.environ:  # so that everything may be tried with the other one
        usual["grpc_server"] = os.environ["AIBRIDGE_GRPC_SERVER"]
    limits = {"limits": _LIMITS | dict(settings.get("limits", {}))}
    file = folder / "aibridge.toml"
    lines = (f"{key} = {_toml(value)}\n" for key, value in (usual | dict(settings) | limits).items())
    file.write_text("".join(lines))
    return file


def environment() -> dict[str, str]:
    """Our own, without what would be settings."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(_OURS)}


def free_ports() -> Ports:
    """Two at which nobody listens, and which the kernel gives to nobody else before this process ends."""
    one, two = reserved(), reserved()
    _held.extend((one, two))
    return number(one), number(two)


def launched(folder: Path, file: Path, command: str = "up", **variables: str) -> subprocess.Popen[bytes]:
    """The process, with these variables in its environment; what it writes goes to `output.log`."""
    with (folder / "output.log").open("wb") as log:
        return subprocess.Popen(
            [*COMMAND, command, "--config", str(file)],
            cwd=ROOT,
            env=environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _started(
    folder: Path, wanted: Ports | None, settings: Mapping[str, object], variables: Mapping[str, str]
) -> Bridge:
    for _ in range(_TRIES):
        ports = wanted or free_ports()
        process = launched(folder, written(folder, ports, settings), **variables)
        started = Bridge(folder, process, ports, closed="tls" in settings)
        eventually(lambda started=started: started.health() == 200 or started.process.poll() is not None, "ready", 60)
        if started.process.poll() is None:
            return started
        # Somebody took the port between our asking and Envoy's binding it: another one, then.
        assert "ddress already in use" in started.output, started.output
    raise AssertionError(started.output)


def _toml(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(value)
