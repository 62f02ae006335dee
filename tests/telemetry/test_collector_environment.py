"""From the standard `OTEL_*` variables to what a collector gets that demands certificates: headers and all."""

import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc
import pytest

from examples.otlp_receiver import TRACES, decode
from sidecar.settings.sources import load
from sidecar.telemetry.configure import configure
from tests.services import Certificates, certificates
from tests.telemetry.interceptions import PASSED, T
from tests.telemetry.stuck import Dropped

Got = list[tuple[Mapping[str, str], bytes]]
OTLP = "OTEL_EXPORTER_OTLP_"
HEADERS = f"{OTLP}HEADERS"
TRACES_HEADERS = f"{OTLP}TRACES_HEADERS"
BOTH = pytest.mark.parametrize("protocol", ["grpc", "http"])


@contextmanager
def grpc_collector(theirs: Certificates, clients: Path) -> Iterator[tuple[str, Got]]:
    """One that takes traces from whoever shows a certificate by `clients`, with the headers that came along."""
    got: Got = []

    def export(payload: bytes, context: grpc.ServicerContext) -> bytes:
        got.append((dict(context.invocation_metadata()), payload))
        return b""

    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(TRACES, handlers),))
    pair = (theirs.key.read_bytes(), theirs.cert.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], clients.read_bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"https://127.0.0.1:{port}", got
    server.stop(grace=None).wait()


@contextmanager
def http_collector(theirs: Certificates, clients: Path) -> Iterator[tuple[str, Got]]:
    """The same over HTTP."""
    got: Got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = self.rfile.read(int(self.headers["content-length"]))
            got.append(({name.lower(): value for name, value in self.headers.items()}, payload))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Whoever has no certificate is sent away without a word."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.cert, theirs.key)
    context.load_verify_locations(clients)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


@pytest.fixture
def theirs(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "theirs")


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "ours")


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, theirs: Certificates, ours: Certificates) -> pytest.MonkeyPatch:
    """An environment that names their authority, and a certificate of ours."""
    monkeypatch.setenv(f"{OTLP}CERTIFICATE", str(theirs.ca))
    monkeypatch.setenv(f"{OTLP}CLIENT_CERTIFICATE", str(ours.cert))
    monkeypatch.setenv(f"{OTLP}CLIENT_KEY", str(ours.key))
    return monkeypatch


def sent(folder: Path, protocol: str, theirs: Certificates, ours: Certificates) -> tuple[Got, int]:
    """What a collector got of one span, and how many spans were counted as lost."""
    dropped = Dropped()
    with (grpc_collector if protocol == "grpc" else http_collector)(theirs, ours.ca) as (endpoint, got):
        file = folder / "aibridge.toml"
        file.write_text(f'telemetry = {{otlp_endpoint = "{endpoint}", otlp_protocol = "{protocol}"}}\n')
        traces = configure(load(file), "worker-0", dropped)
        traces.begin(None).observe([PASSED], T)
        traces.close(30)
    return got, dropped.by["export_failed"]


@BOTH
def test_headers_and_spans_arrive_over_tls(
    variables: pytest.MonkeyPatch, tmp_path: Path, protocol: str, theirs: Certificates, ours: Certificates
) -> None:
    variables.setenv(HEADERS, "x-tenant=aster,authorization=Bearer%20CANARY")
    ((headers, payload),), lost = sent(tmp_path, protocol, theirs, ours)
    assert {"x-tenant": "aster", "authorization": "Bearer CANARY"}.items() <= headers.items()
    assert [span.name for span in decode(payload)] == ["Passthrough"]
    assert lost == 0


@BOTH
def test_headers_for_traces_take_the_place_of_those_for_all(
    variables: pytest.MonkeyPatch, tmp_path: Path, protocol: str, theirs: Certificates, ours: Certificates
) -> None:
    variables.setenv(HEADERS, "x-tenant=aster,x-all=1")
    variables.setenv(TRACES_HEADERS, "x-tenant=birch")
    ((headers, _),), _ = sent(tmp_path, protocol, theirs, ours)
    assert headers["x-tenant"] == "birch"
    assert "x-all" not in headers


@BOTH
@pytest.mark.parametrize("wrong", ["another authority", "no certificate"])
def test_who_is_not_known_gets_nothing_and_that_is_counted(  # noqa: PLR0913, PLR0917 - fixtures
    variables: pytest.MonkeyPatch, tmp_path: Path, protocol: str, theirs: Certificates, ours: Certificates, wrong: str
) -> None:
    if wrong == "another authority":
        variables.setenv(f"{OTLP}CERTIFICATE", str(ours.ca))
    else:
        variables.delenv(f"{OTLP}CLIENT_CERTIFICATE")
        variables.delenv(f"{OTLP}CLIENT_KEY")
    assert sent(tmp_path, protocol, theirs, ours) == ([], 1)
