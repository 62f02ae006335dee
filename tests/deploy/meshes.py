"""A pod of a mesh on loopback: `aibridge-sidecar serve`, and an Envoy configured as istiod would with our resources."""

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import yaml

from sidecar.bootstrap import istio
from sidecar.settings import load
from tests import binary
from tests.deploy.certificates import FILES, issued, showing
from tests.deploy.istio import Around, configuration
from tests.deploy.patches import patched
from tests.e2e.bridges import STOPPED_WITHIN, free_ports, launched, written
from tests.e2e.connections import RESPONSES, Response, ask
from tests.e2e.identities import ask_securely
from tests.e2e.recorded import Records
from tests.e2e.waiting import PATIENCE, eventually

AGENT = "spiffe://cluster.local/ns/agents/sa/agent"
CONTEXTS: dict[istio.Place, tuple[str, str]] = {
    "sidecar": ("SIDECAR_OUTBOUND", "mesh"),
    "gateway": ("GATEWAY", istio.GATEWAY),
}


class Mesh(Records):
    """Where its Envoy listens, and where the records are."""

    def __init__(self, folder: Path, port: int, admin: int, agent: ssl.SSLContext | None = None) -> None:
        """`agent`: what a program's pod shows, where it has to."""
        self.database = folder / "records.db"
        self.port = port
        self.host = ("host", f"localhost:{port}")  # by which its Envoy finds the provider
        self.agent = agent
        self.processes: list[subprocess.Popen[bytes]] = []  # in the order in which they were started
        self._admin = admin

    def ask(
        self, case: str, body: bytes = b"", *more: tuple[str, str], method: str = "POST", path: str = RESPONSES
    ) -> Response:
        """One request of a program's, and its response."""
        headers = (self.host, *more)
        if self.agent:
            return ask_securely(self.port, self.agent, case, body, *headers, method=method, path=path)
        return ask(self.port, case, body, *headers, method=method, path=path)

    def drain(self) -> None:
        """Tell Envoy what pilot-agent tells it first when a pod ends (Istio's pkg/envoy/proxy.go)."""
        connection = HTTPConnection("127.0.0.1", self._admin, timeout=PATIENCE)
        connection.request("POST", "/drain_listeners?graceful")
        assert connection.getresponse().status == 200
        connection.close()

    def connections(self) -> int:
        """How many Envoy has, as pilot-agent counts them with EXIT_ON_ZERO_ACTIVE_CONNECTIONS."""
        return self.statistic(f"listener.127.0.0.1_{self.port}.downstream_cx_active")

    def stop(self) -> list[int]:
        """End what still runs, the last that was started first; the exit statuses in that order."""
        for process in reversed(self.processes):
            process.terminate()
            process.wait(STOPPED_WITHIN)
        return [process.returncode for process in reversed(self.processes)]

    def statistic(self, name: str) -> int:
        """What Envoy counts under this name; -1 where it knows none, or is not there."""
        connection = HTTPConnection("127.0.0.1", self._admin)
        try:
            connection.request("GET", f"/stats?filter=^{name}$")
            return int(connection.getresponse().read().rpartition(b": ")[2] or -1)
        except OSError:
            return -1
        finally:
            connection.close()


@contextmanager
def mesh(
    folder: Path, place: istio.Place, settings: dict[str, Any], *, authorities: str = "", serves: bool = True
) -> Iterator[Mesh]:
    """One that is ready, its gateway with mutual TLS where `settings` has `tls`.

    Started as in its pod: istio-proxy is the first of a program's, and in a gateway's it waits for native sidecars.
    `authorities`: the PEM file by which providers are known. `serves` False: nobody is behind the workers' sockets.
    """
    ports = free_ports()
    file = written(folder, ports, settings)
    chosen = load(file)
    documents = list(yaml.safe_load_all(istio.render(chosen, place)))
    context, via = CONTEXTS[place]
    around = Around(listen=ports[0], admin=ports[1], authorities=authorities, mutual=settings.get("tls"))
    plain = configuration(documents, via, around)
    config = patched(plain, documents, context=context, labels=istio.LABELS if place == "gateway" else {})
    (folder / "envoy.yaml").write_text(yaml.safe_dump(config))
    running = Mesh(folder, *ports)
    try:
        if place == "sidecar":
            running.processes.append(_envoy(folder))
        if serves:
            running.processes.append(launched(folder, file, "serve"))
            eventually(chosen.socket(0).exists, "a worker")
        if place == "gateway":
            running.processes.append(_envoy(folder))
        healthy = 1 if serves else 0
        eventually(lambda: running.statistic("cluster.sidecar.membership_healthy") == healthy, "workers and Envoy")
        yield running
    finally:
        running.stop()


@contextmanager
def gateway(folder: Path, settings: dict[str, Any], *, authorities: str = "") -> Iterator[Mesh]:
    """An egress gateway's that is ready, with mutual TLS; who asks is the pod of `AGENT`."""
    root = issued(folder)
    tls = {name: str(folder / file) for name, file in FILES.items()}
    with mesh(folder, "gateway", settings | {"tls": tls}, authorities=authorities) as running:
        running.agent = showing(folder, root, AGENT)
        yield running


def _envoy(folder: Path) -> subprocess.Popen[bytes]:
    command = [
        binary.envoy(),
        "--config-path",
        folder / "envoy.yaml",
        "--disable-hot-restart",
        "--drain-time-s",
        "1",  # Istio's are 45: until then a drain lets new connections in
        "--drain-strategy",
        "immediate",
        "--log-level",
        "warning",
    ]
    with (folder / "envoy.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
