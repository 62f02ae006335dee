"""A pod of a mesh on loopback: `aibridge-sidecar serve`, and an Envoy configured as istiod would with our resources."""

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
from tests.deploy.istio import Around, configuration
from tests.deploy.patches import patched
from tests.e2e import recorded
from tests.e2e.bridges import STOPPED_WITHIN, free_ports, launched, written
from tests.e2e.recorded import Recorded
from tests.e2e.waiting import eventually

CONTEXTS: dict[istio.Place, tuple[str, str]] = {
    "sidecar": ("SIDECAR_OUTBOUND", "mesh"),
    "gateway": ("GATEWAY", istio.GATEWAY),
}


class Mesh:
    """Where its Envoy listens, and where the records are."""

    def __init__(self, folder: Path, port: int, admin: int) -> None:
        self.database = folder / "records.db"
        self.port = port
        self.host = ("host", f"localhost:{port}")  # by which its Envoy finds the provider
        self._admin = admin

    def sessions(self, session: str) -> list[Recorded]:
        """The interceptions of this session, now."""
        return recorded.sessions(self.database, session)

    def session(self, session: str) -> Recorded:
        """The one interception of this session, which has ended by now."""
        (found,) = self.sessions(session)
        assert found.interception["ended_at"]
        return found

    def ending(self, session: str) -> Recorded:
        """The one interception of this session, as soon as it has ended."""
        eventually(lambda: [one for one in self.sessions(session) if one.interception["ended_at"]], "an end")
        return self.session(session)

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

    `authorities`: the PEM file by which providers are known. `serves` False: nobody is behind the workers' sockets.
    """
    ports = free_ports()
    file = written(folder, ports, settings)
    documents = list(yaml.safe_load_all(istio.render(load(file), place)))
    context, via = CONTEXTS[place]
    around = Around(listen=ports[0], admin=ports[1], authorities=authorities, mutual=settings.get("tls"))
    plain = configuration(documents, via, around)
    config = patched(plain, documents, context=context, labels=istio.LABELS if place == "gateway" else {})
    (folder / "envoy.yaml").write_text(yaml.safe_dump(config))
    running = Mesh(folder, *ports)
    processes = [launched(folder, file, "serve")] if serves else []
    processes.append(_envoy(folder))
    try:
        healthy = 1 if serves else 0
        eventually(lambda: running.statistic("cluster.sidecar.membership_healthy") == healthy, "workers and Envoy")
        yield running
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(STOPPED_WITHIN)


def _envoy(folder: Path) -> subprocess.Popen[bytes]:
    command = [
        binary.envoy(),
        "--config-path",
        folder / "envoy.yaml",
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ]
    with (folder / "envoy.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
