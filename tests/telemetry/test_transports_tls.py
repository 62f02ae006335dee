"""The way to a collector over TLS, with certificates on both sides."""

import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc
import pytest

from sidecar.core.errors import SidecarError
from sidecar.settings.otel import Way
from sidecar.telemetry.transports import METHODS, Grpc, Http, Outcome, Transport
from tests.services import Certificates, certificates

Got = list[bytes]


@contextmanager
def grpc_collector(ours: Certificates, clients: Path) -> Iterator[tuple[str, Got]]:
    """One that takes metrics from whoever shows a certificate by `clients`."""
    got: Got = []

    def export(payload: bytes, _: grpc.ServicerContext) -> bytes:
        got.append(payload)
        return b""

    service, method = METHODS["metrics"].lstrip("/").split("/")
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    handlers = {method: grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    pair = (ours.key.read_bytes(), ours.cert.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], clients.read_bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"https://127.0.0.1:{port}", got
    server.stop(grace=None).wait()


@contextmanager
def http_collector(ours: Certificates, clients: Path) -> Iterator[tuple[str, Got]]:
    """The same over HTTP."""
    got: Got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Whoever has no certificate is sent away without a word."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours.cert, ours.key)
    context.load_verify_locations(clients)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


def to_grpc(endpoint: str, way: Way) -> Transport:
    return Grpc(endpoint, METHODS["metrics"], way)


def to_http(endpoint: str, way: Way) -> Transport:
    return Http(f"{endpoint}/v1/metrics", way)


BOTH = pytest.mark.parametrize(("collector", "to"), [(grpc_collector, to_grpc), (http_collector, to_http)])
Collector = Callable[..., object]
To = Callable[[str, Way], Transport]


@pytest.fixture
def theirs(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "theirs")


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "ours")


@pytest.fixture
def way(theirs: Certificates, ours: Certificates) -> Way:
    return Way(ca_file=theirs.ca, cert_file=ours.cert, key_file=ours.key, timeout=5.0)


@BOTH
def test_both_sides_show_their_certificates(
    collector: Collector, to: To, theirs: Certificates, ours: Certificates, way: Way
) -> None:
    with collector(theirs, ours.ca) as (endpoint, got):
        transport = to(endpoint, way)
        assert transport.send(b"") is Outcome.DELIVERED
        transport.close()
        assert got == [b""]


@BOTH
@pytest.mark.parametrize("wrong", ["another authority", "no certificate"])
def test_who_is_not_known_gets_nothing(  # noqa: PLR0913, PLR0917 - fixtures
    collector: Collector, to: To, theirs: Certificates, ours: Certificates, way: Way, wrong: str
) -> None:
    """Neither a collector by an authority that was not named, nor is a sender without certificate heard."""
    changed = {"ca_file": ours.ca} if wrong == "another authority" else {"cert_file": None, "key_file": None}
    with collector(theirs, ours.ca) as (endpoint, got):
        transport = to(endpoint, replace(way, **changed, timeout=1.0))
        assert transport.send(b"") is Outcome.UNAVAILABLE
        transport.close()
        assert got == []


@pytest.mark.parametrize("to", [to_grpc, to_http])
def test_a_certificate_that_has_gone_is_named(to: To, way: Way) -> None:
    assert way.cert_file
    way.cert_file.unlink()
    with pytest.raises(SidecarError, match=r"cert\.pem, which OTEL_EXPORTER_OTLP_… names, is not what it was"):
        to("https://127.0.0.1:1", way)
