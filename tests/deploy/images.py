"""A builder for the Containerfile without a container: its steps, in a folder that stands for the root.

Every absolute path of the image is one below that folder, which in the second stage is a new, empty one. The base is
what runs the tests. So an image that works here has all that it needs but what the base has to bring.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from deploy.render import ROOT

CONTAINERFILE = ROOT / "deploy/Containerfile"
_LINES = re.sub(r"\\\n\s*", "", CONTAINERFILE.read_text()).splitlines()
STEPS = [
    (step, rest) for step, _, rest in (line.partition(" ") for line in _LINES if line and not line.startswith("#"))
]
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; .*)? \\$", re.MULTILINE)
_BASES = ("usr", "bin", "lib", "lib64", "dev", "proc", "sys")  # folders of the root that are the base's
_ABSOLUTE = re.compile(rf"(?<![\w./~$}}-])/(?=\w)(?!(?:{'|'.join(_BASES)})\b)")
_LOCKED = "install --no-deps --require-hashes -r requirements.lock"
_UNREACHABLE = re.compile(
    "Failed to establish a new connection|Temporary failure in name resolution|Network is unreachable"
    "|ProxyError|ConnectTimeoutError|NameResolutionError|NewConnectionError"
)
_SCRIPTS = ".."  # what a distribution has beside its packages is under these

Run = Callable[[str, Path, Mapping[str, str]], None]


def pinned(file: Path) -> dict[str, str]:
    """The versions that a lock names."""
    return {name.lower(): version for name, version in PINNED.findall(file.read_text())}


def shell(command: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run a step; AssertionError, with what it said, when it fails."""
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode and _UNREACHABLE.search(done.stderr):
        pytest.skip("no package registry can be reached, which the image's tools come from")
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


def installing(command: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Likewise, but packages of requirements.lock are those that are installed here, and not fetched."""
    if _LOCKED not in command:
        shell(command, folder, environment)
        return
    (packages,) = (folder.parent / "opt/aibridge/lib").glob("python3*/site-packages")
    for name, version in pinned(folder / "requirements.lock").items():
        _copied(name, version, packages)


class Image:
    """What the Containerfile makes of `root`, which need not be there: `built` fills it."""

    def __init__(self, root: Path, arguments: Mapping[str, str], run: Run) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self.folder = root
        self.words: dict[str, str] = {}  # of the last stage: what is said once
        self._arguments = dict(arguments)
        self._known: dict[str, str] = {}
        self._run = run
        self._stages: dict[str, Path] = {}
        self._stage = ""

    def built(self) -> "Image":
        """Take every step. Raises AssertionError for one that fails, or that this builder does not know."""
        for step, rest in STEPS:
            match step:
                case "ARG":
                    self._known[rest] = self._arguments[rest]
                case "FROM":
                    self._from(rest)
                case "WORKDIR":
                    self.folder = Path(self.here(rest))
                    self.folder.mkdir(parents=True, exist_ok=True)
                case "ENV":
                    self.environment |= dict(word.split("=", 1) for word in shlex.split(rest))
                case "COPY":
                    self._copy(rest)
                case "RUN":
                    self._run(self.here(rest), self.folder, self._variables())
                case "LABEL" | "USER" | "STOPSIGNAL" | "EXPOSE" | "ENTRYPOINT" | "CMD":
                    self.words[step] = rest
                case _:
                    raise AssertionError(step)
        for aside in self._stages.values():
            shutil.rmtree(aside)
        return self

    def here(self, text: str) -> str:
        """With the image's absolute paths as they are here."""
        return _ABSOLUTE.sub(f"{self.root}/", text)

    def _from(self, rest: str) -> None:
        base, _, name = rest.partition(" AS ")
        assert base == "${BASE_IMAGE}@${BASE_DIGEST}"
        assert self._known.keys() == {"BASE_IMAGE", "BASE_DIGEST"}
        if self._stage:
            self._stages[self._stage] = aside = self.root.with_name(self._stage)
            self.root.rename(aside)
        self.root.mkdir(parents=True)
        self._stage, self.folder, self.environment, self.words = name, self.root, {}, {}

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        origin = ROOT
        if sources[0].startswith("--from="):
            origin = self._stages[sources.pop(0).removeprefix("--from=")]
        to = self.folder / self.here(target)
        for source in sources:
            found = origin / source.lstrip("/")
            if found.is_dir():
                ignore = shutil.ignore_patterns("__pycache__") if origin == ROOT else None
                shutil.copytree(found, to, symlinks=True, dirs_exist_ok=True, ignore=ignore, copy_function=_linked)
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, to)

    def _variables(self) -> dict[str, str]:
        """A build's: the base's programs, and how this machine reaches the registry."""
        path = f"{sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin"
        ways = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or "proxy" in name.lower()}
        return {"PATH": path, "HOME": str(self.root), "LC_ALL": "C.UTF-8"} | ways | self.environment


def _copied(name: str, version: str, packages: Path) -> None:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        assert name == "httpx2-jsfetch"  # for another platform, as its marker in the lock says
        return
    assert found.version == version
    for file in found.files or ():
        if file.parts[0] != _SCRIPTS and file.locate().exists():
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            _linked(file.locate(), target)


def _linked(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """One file under two names, where both are on one file system: nobody writes to either."""
    Path(target).unlink(missing_ok=True)  # two packages may have one folder, and its `__init__.py`
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
