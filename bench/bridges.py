"""What is measured: an Envoy with a processor behind it, as one command starts them, and what they cost."""

import asyncio
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from sidecar.admin import Envoy
from sidecar.bootstrap.listener import STAT_PREFIX
from sidecar.bootstrap.messages import SIDECAR as FILTER
from sidecar.settings import Settings, host_and_port, load

SIDECAR: Final = ("-m", "sidecar", "up")
ACKING: Final = ("-m", "bench.acked")
ALONE: Final = ("-m", "bench.acked", "--alone")
_READY = 120.0  # seconds; a machine may be busy
_STOPPED = 30.0
_POLL = 0.1
_SETTINGS = """\
workers = {workers}
grpc_server = "{server}"
listen = "127.0.0.1:{listen}"
admin = "127.0.0.1:{admin}"
runtime_dir = "{folder}/run"
[[providers]]
name = "openai"
base_url = "{provider}/v1"
[recorder]
url = "sqlite:///{folder}/records.db"
[telemetry]
{telemetry}
[limits]
max_inflight_bytes = 1073741824
"""
UNSEEN: Final = 'metrics = ""'  # neither metrics nor traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was spent so far: `envoy` and `processor` in seconds of CPU, `messages` by Envoy to the processor."""

    envoy: float
    processor: float
    messages: int

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(
            envoy=self.envoy - other.envoy,
            processor=self.processor - other.processor,
            messages=self.messages - other.messages,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """One that runs. `envoy` and `processors` are process ids."""

    name: str
    settings: Settings
    envoy: int
    processors: tuple[int, ...]

    def cost(self) -> Cost:
        """What it has spent since it was started; raises OSError when one of its processes has ended."""
        return Cost(
            envoy=seconds(self.envoy),
            processor=sum(map(seconds, self.processors)),
            messages=_messages(self.settings),
        )


@contextmanager
def bridge(  # noqa: PLR0913 - the last three have their default
    name: str,
    command: tuple[str, ...],
    folder: Path,
    provider: str,
    *,
    telemetry: str = UNSEEN,
    workers: int = 1,
    server: str = "asyncio",
) -> Iterator[Bridge]:
    """Start `command` with settings of its own in `folder`, in front of `provider`, and stop it in the end.

    `telemetry`: what stands in that section; `{metrics}` in it becomes an address.
    """
    folder.mkdir()
    config = folder / "bridge.toml"
    listen, admin, metrics = _ports(3)
    telemetry = telemetry.format(metrics=f"127.0.0.1:{metrics}")
    places = {"listen": listen, "admin": admin, "folder": folder, "provider": provider}
    written = _SETTINGS.format(**places, telemetry=telemetry, workers=workers, server=server)
    config.write_text(written)
    with process(*command, "--config", str(config)) as running:
        settings = load(config)
        _wait(settings, running)
        found = tuple(tree(running.pid))
        [envoy] = [pid for pid in found if _name(pid).startswith("envoy")]
        processors = tuple(pid for pid in found if pid != envoy)
        yield Bridge(name=name, settings=settings, envoy=envoy, processors=processors)


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python with these arguments, and end it in the end, politely first."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AIBRIDGE_", "OTEL_"))}
    command = (sys.executable, *arguments)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as running:  # noqa: S603 - ours
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(_STOPPED)
            except subprocess.TimeoutExpired:
                running.kill()


def _wait(settings: Settings, running: subprocess.Popen[str]) -> None:
    until = time.monotonic() + _READY
    while not asyncio.run(Envoy(settings).is_ready()):
        if running.poll() is not None or time.monotonic() > until:
            msg = f"did not come to serve: process {running.pid}"
            raise RuntimeError(msg)
        time.sleep(_POLL)


def _ports(count: int) -> list[int]:
    """Ports that are free now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def tree(pid: int) -> Iterator[int]:
    """A process and those it has started, and so on (proc(5), /proc/pid/task/tid/children)."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def memory(pids: Iterable[int]) -> int:
    """Bytes of memory that processes have resident (proc(5), statm)."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return sum(pages) * resource.getpagesize()


def descriptors(pids: Iterable[int]) -> int:
    """Files and sockets that processes have open."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def seconds(pid: int) -> float:
    """CPU that a process has spent so far."""
    # utime and stime of all its threads, in nanoseconds where /proc/pid/stat has ticks of 10 ms: the clock that
    # clock_getcpuclockid(3) gives for a process.
    return time.clock_gettime(~pid << 3 | 2)


def _messages(settings: Settings) -> int:
    name = f"http.{STAT_PREFIX}.ext_proc.{FILTER}.stream_msgs_sent"
    connection = HTTPConnection(*host_and_port(settings.admin), timeout=_READY)
    try:
        connection.request("GET", f"/stats?filter=^{name}$")
        return int(connection.getresponse().read().partition(b": ")[2] or 0)  # of Envoy alone there are none
    finally:
        connection.close()
