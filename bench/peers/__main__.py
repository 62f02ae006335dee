"""The same load through the gateways that people pick, side by side: python -m bench.peers [--quick] [--only NAME].

Each is installed into a folder of its own, below `.bench-peers`, and runs on loopback in front of `bench.provider`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import click
from rich.console import Console

from bench.bridges import _ports as ports
from bench.bridges import memory, process, seconds, tree
from bench.exchanges import PATH
from bench.peers.makes import NOT_MEASURED, Make, makes
from bench.peers.results import Result, tables, verdicts
from bench.ways import ACKS, DIRECT, OURS, Way, provider, ways

CACHE = Path(".bench-peers")
_EVENTS, _PACE = 30, 0.02
_STARTED, _STOPPED = 120.0, 30.0
_ALONE = "Envoy alone"


class PeerError(Exception):
    """A peer cannot be measured; says why in one line."""

    def __init__(self, make: Make, why: str) -> None:
        super().__init__(f"{make.name}: left out: {why}")


def installed(make: Make) -> Path:
    """Its folder, with the pinned version in it. Raises PeerError."""
    home = (CACHE / make.folder).absolute()
    if not shutil.which(make.needs):
        raise PeerError(make, f"there is no {make.needs}")
    done = home / ".installed"
    if not done.exists() or done.read_text() != make.package:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        for command in make.install:
            words = [word.format(home=home, python=sys.executable) for word in command]
            if subprocess.run(words, check=False, cwd=home).returncode:  # noqa: S603 - ours
                raise PeerError(make, f"{make.package} could not be installed")
        done.write_text(make.package)
    return home


@contextmanager
def running(make: Make, home: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Its address and process id; raises PeerError when it does not come to serve."""
    folder.mkdir()
    for name, text in make.files.items():
        (folder / name).write_text(text)
    [port] = ports(1)
    words = [word.format(home=home, port=port) for word in make.command]
    # Nothing of the environment but what a program needs: a gateway is somebody else's code, and keys are not for it.
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), **make.environment}
    with (folder / "log").open("wb") as log:
        one = subprocess.Popen(words, cwd=folder, env=kept, stdout=log, stderr=log, start_new_session=True)  # noqa: S603
    try:
        until = time.monotonic() + _STARTED
        while not _serves(port, make.ready):
            if one.poll() is not None or time.monotonic() > until:
                raise PeerError(make, "it did not come to serve")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}", one.pid
    finally:
        for name in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(one.pid, name)  # its own session: what it started too
            with suppress(subprocess.TimeoutExpired):
                one.wait(_STOPPED)


def _serves(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500  # noqa: PLR2004 - a server's own errors
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def measured(  # noqa: PLR0913 - a peer is all of these
    name: str, address: str, path: str, headers: dict[str, str], pids: Sequence[int], *, part: float
) -> Result:
    """One round of everything, after one that warms up."""

    def load(kind: str, connections: int, requests: int) -> dict[str, object]:
        words = (address, path, kind, *map(str, (connections, requests, _EVENTS)), json.dumps(headers))
        with process("-m", "bench.peers.asking", *words) as asking:
            return dict(json.loads(asking.communicate()[0]))

    amount = max(32, round(2000 * part))
    load("json", 16, 32)
    before = sum(map(seconds, pids))
    many = load("json", 16, amount)
    spent = sum(map(seconds, pids)) - before
    return Result(
        name=name, requests=amount, cpu=spent, memory=memory(pids), many=many,
        one=load("json", 1, max(16, amount // 8)), stream=load("sse", 16, 32),
    )  # fmt: skip


@click.command()
@click.option("--quick", is_flag=True, help="A short run, to see that it works; its figures vary.")
@click.option("--only", multiple=True, help="These peers alone: litellm, litellm-silent, portkey.")
@click.option("--json", "written", type=click.Path(path_type=Path), default=CACHE / "results.json", show_default=True)
def main(*, quick: bool, only: Sequence[str], written: Path) -> None:
    """Measure, and print tables and ratios."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    console, found = Console(width=None if sys.stdout.isatty() else 140), list[Result]()
    part = 0.1 if quick else 1.0
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as made,
        provider("bench.provider", _EVENTS, _PACE, 0.0) as url,
        ways(Path(made), url) as ours,
    ):
        for name in (DIRECT, _ALONE, ACKS, OURS):
            one = ours[name]
            found.append(measured(name, one.address, PATH, {}, _pids(one), part=part))
        for key, make in makes(url).items():
            if only and key not in only:
                continue
            try:
                home = installed(make)
                with running(make, home, Path(made) / key) as (address, pid):
                    headers = dict(make.headers)
                    found.append(measured(make.name, address, make.path, headers, tuple(tree(pid)), part=part))
            except PeerError as error:
                console.print(str(error), style="red")
    for table in tables(found):
        console.print(table.shown())
    for verdict in verdicts(found):
        console.print(verdict)
    console.print(f"Not measured, being in no package registry: {', '.join(NOT_MEASURED)}.")
    written.parent.mkdir(exist_ok=True)
    written.write_text(json.dumps([one.told() for one in found], indent=2))


def _pids(one: Way) -> tuple[int, ...]:
    return (one.bridge.envoy, *one.bridge.processors) if one.bridge else ()


if __name__ == "__main__":
    main()
