"""Collectors that take one signal from whoever shows a certificate they know, and keep the headers that came along."""

import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc

from sidecar.settings.otel import Signal
from sidecar.telemetry.transports import METHODS
from tests.e2e.waiting import PATIENCE
from tests.services import Certificates

Got = list[tuple[Mapping[str, str], bytes]]


@contextmanager
def grpc_collector(theirs: Certificates, clients: Path, signal: Signal = "traces") -> Iterator[tuple[str, Got]]:
    """One that takes `signal` from whoever shows a certificate by `clients`."""
    got: Got = []

    def export(payload: bytes, context: grpc.ServicerContext) -> bytes:
        got.append((dict(context.invocation_metadata()), payload))
        return b""

    service, method = METHODS[signal].lstrip("/").split("/")
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    handlers = {method: grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    pair = (theirs.key.read_bytes(), theirs.cert.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], clients.read_bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"https://127.0.0.1:{port}", got
    assert server.stop(grace=None).wait(PATIENCE)


@contextmanager
def http_collector(theirs: Certificates, clients: Path, signal: Signal = "traces") -> Iterator[tuple[str, Got]]:
    """The same over HTTP."""
    got: Got = []
    path = f"/v1/{signal}"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = b"".join(self.pieces())
            if self.path == path:
                got.append(({name.lower(): value for name, value in self.headers.items()}, payload))
            self.send_response(200 if self.path == path else 404)
            self.end_headers()

        def pieces(self) -> Iterator[bytes]:
            """The body: Envoy's comes chunked (RFC 9112, section 7.1)."""
            if "content-length" in self.headers:
                yield self.rfile.read(int(self.headers["content-length"]))
                return
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

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
