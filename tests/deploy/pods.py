"""A kubelet for one pod of the chart, on loopback: it runs our containers' commands in Kubernetes' order.

Their paths are folders below one of the test's, their ports ones that are free; all else is as it was rendered.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests import binary
from tests.deploy.charts import file, made, ours
from tests.e2e.bridges import ROOT, STOPPED_WITHIN, environment, free_ports
from tests.e2e.connections import ask
from tests.e2e.waiting import PATIENCE, eventually

Fields = dict[str, Any]
KEY = "sk-from-the-secret"

_PROGRAMS = {
    "/opt/aibridge/bin/aibridge-sidecar": [sys.executable, "-m", "sidecar"],
    "/opt/aibridge/bin/python": [sys.executable],
    "/opt/aibridge/bin/envoy-binary": [binary.envoy()],
}
_ENTRYPOINT = "/opt/aibridge/bin/aibridge-sidecar"  # the image's
_FIELDS = {"metadata.namespace": "aibridge", "spec.serviceAccountName": "agent"}


class Pod:
    """A context manager: inside, it is ready; afterwards nothing of it is left."""

    def __init__(self, folder: Path, values: Fields) -> None:
        found = made(values)
        self._containers = ours(found)
        self._folder = folder
        (self.port, admin), (self.relay, metrics) = free_ports(), free_ports()
        # Loopback is the pod's own there; here it is everybody's.
        self._loopback = {
            "AIBRIDGE_ENVOY": binary.envoy(),
            "AIBRIDGE_LISTEN": f"127.0.0.1:{self.port}",
            "AIBRIDGE_ADMIN": f"127.0.0.1:{admin}",
            "AIBRIDGE_TELEMETRY__METRICS": f"127.0.0.1:{metrics}",
        }
        ports = {"10000": self.port, "9465": self.relay, "9464": metrics, "9901": admin}
        folders = {"/run/aibridge": "run", "/var/lib/aibridge": "lib", "/etc/aibridge": "etc"}
        self._instead = {old: str(folder / new) for old, new in folders.items()}
        self._instead |= {old: str(new) for old, new in ports.items()} | {"0.0.0.0": "127.0.0.1"}  # noqa: S104
        for name in ("run", "lib", "etc", "etc/provider", "etc/tls"):
            (folder / name).mkdir()
        for name in ("aibridge.toml", "relay.yaml"):
            (folder / "etc" / name).write_text(self._here(file(found, name)))
        (folder / "etc/provider/api-key").write_text(f"{KEY}\n")
        self._running: list[tuple[Fields, subprocess.Popen[bytes]]] = []

    @property
    def database(self) -> Path:
        """Where the records are."""
        return self._folder / "lib/records.db"

    def output(self, name: str) -> str:
        """What this container has written."""
        return (self._folder / f"{name}.log").read_text("utf-8", "replace")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Each in its turn; a native sidecar's successor waits for its startup probe."""
        for container in self._containers.values():
            process = self.run(container["name"])
            if container["name"] == "prepare":
                assert process.wait(PATIENCE) == 0, self.output("prepare")
                continue
            self._running.append((container, process))
            if probe := container.get("startupProbe"):
                eventually(lambda probe=probe: self._succeeds(probe), container["name"])

    def run(self, name: str) -> subprocess.Popen[bytes]:
        """Return the container's process, just started."""
        container = self._containers[name]
        command = self._command([*container.get("command", [_ENTRYPOINT]), *container.get("args", [])])
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, env=self._environment(container), cwd=ROOT, stdout=log, stderr=log)

    def stop(self) -> list[int]:
        """The exit statuses of preStop hooks and containers, in their order."""
        statuses = []
        for container, _ in self._running:
            if hook := container.get("lifecycle", {}).get("preStop"):
                command = self._command(hook["exec"]["command"])
                statuses.append(
                    subprocess.run(command, env=self._environment(container), cwd=ROOT, check=False).returncode
                )
        for _, process in reversed(self._running):
            process.terminate()
            statuses.append(process.wait(STOPPED_WITHIN))
        return statuses

    def kill(self) -> None:
        """Leave nothing of it behind."""
        for _, process in self._running:
            if process.poll() is None:
                process.terminate()
                process.wait(STOPPED_WITHIN)

    def _succeeds(self, probe: Fields) -> bool:
        if "exec" in probe:
            command = self._command(probe["exec"]["command"])
            return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
        get = probe["httpGet"]
        port = self.port if get["port"] == "http" else self.relay
        try:
            return ask(port, "", method="GET", path=get["path"]).status == 200
        except OSError:
            return False

    def _command(self, words: list[str]) -> list[str]:
        return [*_PROGRAMS[words[0]], *map(self._here, words[1:])]

    def _environment(self, container: Fields) -> dict[str, str]:
        told = dict(self._loopback)
        for variable in container.get("env", []):
            value = variable.get("value") or _FIELDS[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            told[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda name: told[name[1]], self._here(value))
        return environment() | told

    def _here(self, text: str) -> str:
        pattern = "|".join(map(re.escape, self._instead))
        return re.sub(pattern, lambda found: self._instead[found[0]], text)
