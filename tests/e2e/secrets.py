"""Files that change while a bridge runs, as Kubernetes and people change them; and an Envoy that says all it knows."""

import itertools
from pathlib import Path

from tests import binary

_AT_TRACE = """\
#!/bin/sh
for argument do
    shift
    [ "$argument" = warning ] && argument=trace
    set -- "$@" "$argument"
done
exec {envoy} "$@"
"""


class Mounted:
    """A Secret's volume: names lead by `..data` to a folder, and all of them change when that leads to another one."""

    def __init__(self, folder: Path, **files: str) -> None:
        self._folder = folder
        self._version = itertools.count()
        folder.mkdir()
        self.put(**files)
        for name in files:
            (folder / name).symlink_to(f"..data/{name}")

    def put(self, **files: str) -> None:
        """Have these, and no others, in it."""
        fresh = self._folder / f"..{next(self._version)}"
        fresh.mkdir()
        for name, text in files.items():
            (fresh / name).write_text(text)
        link = self._folder / "..data_tmp"
        link.symlink_to(fresh.name)
        link.replace(self._folder / "..data")

    def __truediv__(self, name: str) -> Path:
        return self._folder / name


def telling(folder: Path) -> Path:
    """An Envoy that logs at `trace`, whatever `up` wants."""
    script = folder / "telling-envoy"
    script.write_text(_AT_TRACE.format(envoy=binary.envoy()))
    script.chmod(0o755)
    return script


def remembers(pid: int, text: bytes) -> bool:
    """Whether a process has `text` anywhere in its memory that it may write to (proc(5), /proc/pid/maps and mem)."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        return any(text in _part(memory, *span) for span in _spans(pid))


def _spans(pid: int) -> list[tuple[int, int]]:
    rows = (row.split() for row in Path(f"/proc/{pid}/maps").read_text().splitlines())
    ends = (row[0].split("-") for row in rows if row[1].startswith("rw"))
    return [(int(first, 16), int(last, 16)) for first, last in ends]


def _part(memory: object, first: int, last: int) -> bytes:
    try:
        memory.seek(first)  # type: ignore[attr-defined]
        return memory.read(last - first)  # type: ignore[attr-defined, no-any-return]
    except (OSError, ValueError):  # the kernel's own, or gone
        return b""
