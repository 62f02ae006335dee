"""The chart's relay, the real Envoy with its ConfigMap's file, beside a bridge that runs."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests import binary
from tests.deploy.certificates import issued
from tests.deploy.charts import file, resources
from tests.e2e.bridges import STOPPED_WITHIN, bridge, free_ports, launched, written
from tests.e2e.connections import ask
from tests.e2e.waiting import eventually


def got(port: int, path: str, method: str = "GET") -> int:
    """The status; 0 where nobody listens."""
    try:
        return ask(port, "", method=method, path=path).status
    except OSError:
        return 0


@contextmanager
def relay(folder: Path, example: str, instead: dict[str, int | str]) -> Iterator[int]:
    """The relay of an example, with other ports and paths; yields its own port."""
    port, _ = free_ports()
    text = file(resources(example), "relay.yaml").replace("9465", str(port))
    for old, new in instead.items():
        assert old in text
        text = text.replace(old, str(new))
    (folder / "relay.yaml").write_text(text)
    command = [
        binary.envoy(),
        "--config-path",
        folder / "relay.yaml",
        "--disable-hot-restart",
        "--log-level",
        "error",
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: got(port, "/") == 404, "the relay")
        yield port
    finally:
        process.terminate()
        process.wait(STOPPED_WITHIN)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("relay")
    metrics, _ = free_ports()
    with (
        bridge(folder, provider.url, telemetry={"metrics": f"127.0.0.1:{metrics}"}) as running,
        relay(folder, "service", {"9464": metrics, "10000": running.port}) as here,
    ):
        yield here


def test_it_shows_health_and_metrics(port: int) -> None:
    assert got(port, "/healthz") == 200
    shown = ask(port, "", method="GET", path="/metrics")
    assert (shown.status, b"# TYPE aibridge_" in shown.body) == (200, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/openai/v1/responses"),
        ("GET", "/openai/v1/models"),
        ("POST", "/metrics"),
        ("POST", "/healthz"),
        ("GET", "/stats"),
        ("POST", "/healthcheck/fail"),
        ("GET", "/metrics/../openai/v1/models"),
    ],
)
def test_it_shows_nothing_else(port: int, method: str, path: str) -> None:
    """Whoever reaches it must not come to a model, nor to Envoy's admin interface."""
    assert got(port, path, method) == 404


def test_in_a_mesh_health_is_the_workers(tmp_path: Path) -> None:
    """Where nobody but istio-proxy and the relay asks them."""
    with relay(tmp_path, "istio-sidecar", {"/run/aibridge/bridge": str(tmp_path / "run")}) as here:
        assert got(here, "/healthz") == 503
        process = launched(tmp_path, written(tmp_path, free_ports(), {}), "serve")
        try:
            eventually(lambda: got(here, "/healthz") == 200, "healthy")
        finally:
            process.terminate()
            process.wait(STOPPED_WITHIN)
        eventually(lambda: got(here, "/healthz") == 503, "not healthy")


def test_with_tls_health_is_envoys_and_the_workers(tmp_path: Path, provider: ThreadedProvider) -> None:
    """The kubelet has no certificate to show; and Envoy alone, without a worker, answers nobody."""
    issued(tmp_path)
    tls = {"cert_file": str(tmp_path / "tls.crt"), "key_file": str(tmp_path / "tls.key")}
    with bridge(tmp_path, provider.url, tls=tls) as running:
        instead = {"/run/aibridge/bridge": str(running.run), "9901": running.admin}
        with relay(tmp_path, "identified", instead) as here:
            eventually(lambda: got(here, "/healthz") == 200, "healthy")
            (worker,) = running.workers()
            os.kill(worker, signal.SIGSTOP)
            eventually(lambda: got(here, "/healthz") == 503, "no worker")
            os.kill(worker, signal.SIGCONT)
            eventually(lambda: got(here, "/healthz") == 200, "healthy again")
            assert got(running.admin, "/healthcheck/fail", "POST") == 200
            eventually(lambda: got(here, "/healthz") == 503, "drained")
