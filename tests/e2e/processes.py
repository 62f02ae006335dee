"""Processes by what the kernel says of them (Linux)."""

import ipaddress
import os
import signal
import sys
from pathlib import Path

from tests.e2e.waiting import eventually

_LISTEN = "0A"  # TCP_LISTEN of the kernel's tcp_states.h
_GONE = frozenset("ZX")  # ended, and perhaps not yet collected by whoever is pid 1 here


def children(pid: int) -> list[int]:
    """Its children that run, the oldest first."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [child for child in map(int, found) if is_running(child)]


def command(pid: int) -> str:
    """What it was started with; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    """Whether it is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in _GONE
    except OSError:
        return False


def killed(pid: int) -> None:
    """End it as a crash would, and wait until it has ended."""
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid), f"the end of {pid}")


def listens(pid: int, path: Path) -> bool:
    """Whether it holds the Unix socket that is bound at `path`."""
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    inodes = {row[6] for row in rows if row[-1] == str(path)}
    return any(_target(descriptor) in {f"socket:[{inode}]" for inode in inodes} for descriptor in _descriptors(pid))


def listening(pid: int) -> set[tuple[str, int]]:
    """The TCP addresses that it listens at (proc(5), /proc/net/tcp)."""
    tables = (Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    rows = (row.split() for table in tables for row in table)
    found = {f"socket:[{row[9]}]": row[1] for row in rows if row[3] == _LISTEN}
    own = set(map(_target, _descriptors(pid)))
    return {_address(address) for inode, address in found.items() if inode in own}


def _address(written: str) -> tuple[str, int]:
    """Of `0100007F:2710`: words in the machine's own order."""
    host, _, port = written.partition(":")
    packed = b"".join(int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8))
    return str(ipaddress.ip_address(packed)), int(port, 16)


def holds(pid: int, path: Path) -> bool:
    """Whether it has this file open."""
    return str(path) in map(_target, _descriptors(pid))


def _descriptors(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""
