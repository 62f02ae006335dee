"""Against an HTTP server that plays Envoy."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from sidecar.admin import Envoy
from sidecar.bootstrap.listener import STAT_PREFIX
from sidecar.settings import Settings, Tls
from tests.e2e.waiting import PATIENCE

HEALTHY = "/stats?filter=^cluster.sidecar.membership_healthy$"
STAT = "/stats?filter=^http.aibridge.downstream_rq_active$"


class Played(ThreadingHTTPServer):
    """Answers by method and target; `asked` is what it was asked."""

    daemon_threads = True

    def __init__(self, answers: dict[tuple[str, str], tuple[int, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Player)
        self.answers = answers
        self.asked: list[tuple[str, str]] = []


class Player(BaseHTTPRequestHandler):
    server: Played

    def do_GET(self) -> None:
        status, body = self.server.answers[self.command, self.path]
        self.server.asked.append((self.command, self.path))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def played(**answers: tuple[int, bytes]) -> Iterator[tuple[Envoy, Played]]:
    targets = {"health": ("GET", "/healthz"), "fail": ("POST", "/healthcheck/fail"), "stats": ("GET", STAT)}
    with Played({targets[name]: answer for name, answer in answers.items()}) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"127.0.0.1:{server.server_port}"
        yield Envoy(Settings.model_construct(listen=address, admin=address)), server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that others use too may not answer within the bound that an operator gets."""
    monkeypatch.setattr("sidecar.admin._BOUND", PATIENCE)


@pytest.fixture
def nobody() -> Envoy:
    with Played({}) as server:
        address = f"127.0.0.1:{server.server_port}"
    return Envoy(Settings.model_construct(listen=address, admin=address))


@pytest.mark.parametrize(("status", "is_ready"), [(200, True), (503, False), (404, False)])
async def test_it_is_ready_when_clients_are_told_so(status: int, is_ready: bool) -> None:  # noqa: FBT001 - expected
    with played(health=(status, b"")) as (envoy, _):
        assert await envoy.is_ready() is is_ready


@pytest.mark.parametrize(
    ("ready", "healthy", "is_ready"),
    [
        (200, b"cluster.sidecar.membership_healthy: 1\n", True),
        (200, b"cluster.sidecar.membership_healthy: 0\n", False),
        (200, b"", False),
        (503, b"cluster.sidecar.membership_healthy: 1\n", False),
    ],
)
async def test_behind_tls_it_is_ready_when_its_admin_interface_says_so(
    ready: int,
    healthy: bytes,
    is_ready: bool,  # noqa: FBT001 - expected
    tmp_path: Path,
) -> None:
    """There it would have to know the name that clients use, and perhaps to show a certificate."""
    answers = {("GET", "/ready"): (ready, b""), ("GET", HEALTHY): (200, healthy)}
    with Played(answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"127.0.0.1:{server.server_port}"
        tls = Tls.model_construct(cert_file=tmp_path / "cert.pem")
        envoy = Envoy(Settings.model_construct(listen="127.0.0.1:1", admin=address, tls=tls))
        assert await envoy.is_ready() is is_ready
        server.shutdown()
        thread.join()


def test_the_statistic_that_is_asked_for_has_the_listener_s_prefix() -> None:
    """Under another name Envoy would always have nothing under way, and nothing be drained."""
    assert f"^http.{STAT_PREFIX}.downstream_rq_active$" in STAT


async def test_turning_away_is_told_to_the_admin_interface() -> None:
    with played(fail=(200, b"OK\n")) as (envoy, server):
        await envoy.turn_away()
    assert server.asked == [("POST", "/healthcheck/fail")]


@pytest.mark.parametrize(
    ("said", "active"),
    [
        (b"http.aibridge.downstream_rq_active: 3\n", 3),
        (b"http.aibridge.downstream_rq_active: 0\n", 0),
        (b"", 0),
        (b"No histograms\n", 0),
        (b"\xff\xfe", 0),
    ],
)
async def test_what_is_under_way_is_counted_as_envoy_says(said: bytes, active: int) -> None:
    with played(stats=(200, said)) as (envoy, _):
        assert await envoy.active() == active


async def test_an_envoy_that_does_not_answer_in_time_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """To take it for one that has nothing to do would cut what it does."""
    monkeypatch.setattr("sidecar.admin._BOUND", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        envoy = Envoy(Settings.model_construct(listen=address, admin=address))
        assert await envoy.active() == 1
        assert await envoy.is_ready() is False
        await envoy.turn_away()


async def test_nobody_is_not_ready_and_has_nothing_under_way(nobody: Envoy) -> None:
    """An Envoy that has ended keeps nobody from stopping."""
    assert await nobody.is_ready() is False
    assert await nobody.active() == 0
    await nobody.turn_away()
