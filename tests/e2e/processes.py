"""Processes by what the kernel says of them (Linux)."""

from pathlib import Path

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


def listens(pid: int, path: Path) -> bool:
    """Whether it holds the Unix socket that is bound at `path`."""
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    inodes = {row[6] for row in rows if row[-1] == str(path)}
    return any(_target(descriptor) in {f"socket:[{inode}]" for inode in inodes} for descriptor in _descriptors(pid))


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
