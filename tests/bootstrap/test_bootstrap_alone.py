"""What Envoy does with nobody behind it: a request without a verdict goes nowhere."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from sidecar.bootstrap import render
from sidecar.settings import Provider, Recorder, Settings, host_and_port
from tests import binary
from tests.e2e.bridges import free_ports

SECONDS = 30
UPGRADE = (
    b"GET /openai/v1/responses HTTP/1.1\r\nhost: h\r\nx-request-id: r-2\r\n"
    b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lonely:
    """Envoy without a sidecar; whoever got through would connect to `provider`."""

    settings: Settings
    provider: socket.socket

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str | None, bytes]:
        return ask(self.settings.listen, method, path, body)

    def bare(self, request: bytes) -> tuple[bytes, bytes]:
        """Status line and body of the answer to what no HTTP client would send."""
        with socket.create_connection(host_and_port(self.settings.listen), timeout=SECONDS) as connection:
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65_536)
        head, _, body = answer.partition(b"\r\n\r\n")
        return head.partition(b"\r\n")[0], body


def ask(address: str, method: str, path: str, body: bytes | None = None) -> tuple[int, str | None, bytes]:
    connection = HTTPConnection(*host_and_port(address), timeout=SECONDS)
    try:
        connection.request(method, path, body, {"x-request-id": "r-1"})
        answer = connection.getresponse()
        return answer.status, answer.getheader("content-type"), answer.read()
    finally:
        connection.close()


def until_live(process: subprocess.Popen[str], settings: Settings) -> None:
    """Read Envoy's log up to where it starts its workers, then knock until one opens."""
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    if not any("starting workers" in line for line in lines):
        pytest.fail("Envoy did not start")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as knock:
            if knock.connect_ex(host_and_port(settings.listen)) == 0:
                return
    pytest.fail("Envoy does not listen")


@contextmanager
def running(folder: Path, **recorder: str) -> Iterator[Lonely]:
    with socket.create_server(("127.0.0.1", 0)) as provider:
        provider.setblocking(False)  # noqa: FBT003 (the socket module's signature)
        listen, admin = free_ports()
        settings = Settings(
            listen=f"127.0.0.1:{listen}",
            admin=f"127.0.0.1:{admin}",
            runtime_dir=folder,
            recorder=Recorder(**recorder),
            providers=[Provider(base_url=f"http://127.0.0.1:{provider.getsockname()[1]}/v1")],
        )
        (folder / "envoy.yaml").write_text(render(settings), "utf-8")
        command = [binary.envoy(), "-c", folder / "envoy.yaml", "--disable-hot-restart", "--concurrency", "1"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            until_live(process, settings)
            try:
                yield Lonely(settings=settings, provider=provider)
            finally:
                process.terminate()
                process.communicate(timeout=SECONDS)


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lonely]:
    with running(tmp_path_factory.mktemp("envoy")) as envoy:
        yield envoy


def test_without_a_verdict_nothing_goes_upstream(envoy: Lonely) -> None:
    """ext_proc fails open so that responses survive; RBAC behind it is what refuses."""
    assert envoy.ask("POST", "/openai/v1/responses", b"{}") == (
        500,
        "application/json",
        b'{"code":"500","message":"the sidecar gave no verdict on this request"}',
    )
    with pytest.raises(BlockingIOError):
        envoy.provider.accept()


def test_where_responses_are_cut_nothing_goes_upstream_either(tmp_path: Path) -> None:
    """ext_proc refuses by itself then, what Envoy would have answered without a sidecar included."""
    no_verdict = (500, "application/json", b'{"code":"500","message":"the sidecar gave no verdict on this request"}')
    with running(tmp_path, on_worker_loss="cut") as envoy:
        assert envoy.ask("POST", "/openai/v1/responses", b"{}") == no_verdict
        assert envoy.ask("GET", "/openai/v1/models") == no_verdict
        assert envoy.bare(UPGRADE) == (b"HTTP/1.1 500 Internal Server Error", no_verdict[2])
        assert envoy.ask("GET", "/other/v1/models")[0] == 404
        assert envoy.ask("GET", "/healthz")[0] == 503
        with pytest.raises(BlockingIOError):
            envoy.provider.accept()


def test_it_is_not_ready(envoy: Lonely) -> None:
    assert envoy.ask("GET", "/healthz") == (503, "application/json", b'{"code":"503","message":"not ready"}')


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/openai/v1"), ("POST", "/healthz"), ("GET", "/other/v1/models")]
)
def test_what_is_no_providers_is_nowhere(method: str, path: str, envoy: Lonely) -> None:
    assert envoy.ask(method, path) == (404, "application/json", b'{"code":"404","message":"no such route"}')


@pytest.mark.parametrize(
    "request_head",
    [
        UPGRADE,
        b"DELETE /openai/v1/models HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n",
    ],
)
def test_an_upgrade_is_refused_so_that_clients_fall_back(request_head: bytes, envoy: Lonely) -> None:
    """Codex tries a WebSocket first and only takes 426 for an answer."""
    assert envoy.bare(request_head) == (
        b"HTTP/1.1 426 Upgrade Required",
        b'{"code":"426","message":"upgrades are not supported; use HTTP requests"}',
    )


@pytest.mark.parametrize(
    ("request_head", "answer"),
    [
        (
            b"GET /openai%2fv1/models HTTP/1.1\r\nhost: h\r\n\r\n",
            (b"HTTP/1.1 400 Bad Request", b'{"code":"400","message":"bad request"}'),
        ),
        (
            b"GET /openai/v1/models HTTP/1.1\r\nhost: h\r\nx: " + b"x" * 100_000 + b"\r\n\r\n",
            (b"HTTP/1.1 431 Request Header Fields Too Large", b'{"code":"431","message":"request headers too large"}'),
        ),
    ],
)
def test_envoy_refuses_in_json(request_head: bytes, answer: tuple[bytes, bytes], envoy: Lonely) -> None:
    assert envoy.bare(request_head) == answer


@pytest.mark.parametrize("path", ["/ready", "/stats", "/stats?filter=http.aibridge.downstream_rq_active"])
def test_the_admin_interface_shows_how_it_is(path: str, envoy: Lonely) -> None:
    assert ask(envoy.settings.admin, "GET", path)[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/config_dump"),
        ("GET", "/stats/../config_dump"),
        ("POST", "/logging?level=trace"),
        ("POST", "/logging?ext_proc=debug"),
        ("POST", "/quitquitquit"),
        ("GET", "/ready?x"),
        ("GET", "/"),
    ],
)
def test_the_admin_interface_shows_and_changes_nothing_else(method: str, path: str, envoy: Lonely) -> None:
    """Debug logs have the keys in them."""
    assert ask(envoy.settings.admin, method, path)[0] == 403


def test_a_second_envoy_does_not_share_the_port(envoy: Lonely, tmp_path: Path) -> None:
    admin, _ = free_ports()
    settings = envoy.settings.model_copy(update={"admin": f"127.0.0.1:{admin}", "runtime_dir": tmp_path})
    (tmp_path / "envoy.yaml").write_text(render(settings), "utf-8")
    command = [binary.envoy(), "-c", tmp_path / "envoy.yaml", "--disable-hot-restart", "-l", "error"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 1
    assert f"cannot bind '{settings.listen}': Address already in use" in done.stderr


def test_each_request_is_a_line_without_its_query(tmp_path: Path) -> None:
    """Some clients put their key there. Envoy writes out what it has when it stops."""
    with running(tmp_path) as envoy:
        assert envoy.ask("GET", "/openai/v1/models?api_key=CANARY")[0] == 500
        assert (
            envoy.bare(UPGRADE.replace(b"responses", b"responses?api_key=CANARY"))[0]
            == b"HTTP/1.1 426 Upgrade Required"
        )
    text = (tmp_path / "access.log").read_text("utf-8")
    shown = ("request_id", "method", "path", "route", "status", "interception", "actor")
    lines = [json.loads(line) for line in text.splitlines()]
    assert "CANARY" not in text
    assert [tuple(line[key] for key in shown) for line in lines] == [
        ("r-1", "GET", "/openai/v1/models", "openai", 500, None, None),
        ("r-2", "GET", "/openai/v1/responses", "openai", 426, None, None),
    ]
