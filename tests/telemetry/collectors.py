"""Collectors of metrics that are in trouble: they refuse for a while, or hang."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import grpc

from sidecar.telemetry.transports import METHODS


@dataclass(slots=True, kw_only=True)
class Moody:
    """One that takes nothing until it is told to. `got`: what it took."""

    endpoint: str = ""
    takes: bool = False
    got: list[bytes] = field(default_factory=list)

    def took(self, payload: bytes) -> bool:
        """Whether it takes this one."""
        if self.takes:
            self.got.append(payload)
        return self.takes


@contextmanager
def hanging() -> Iterator[str]:
    """The endpoint of one that takes connections and says nothing, ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def moody(protocol: str) -> Iterator[Moody]:
    """One that speaks this protocol, and is gone afterwards."""
    collector = Moody()
    port, stop = (_grpc if protocol == "grpc" else _http)(collector)
    collector.endpoint = f"http://127.0.0.1:{port}"
    yield collector
    stop()


def _http(collector: Moody) -> tuple[int, Callable[[], None]]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200 if collector.took(payload) else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return server.server_port, stop


def _grpc(collector: Moody) -> tuple[int, Callable[[], None]]:
    def export(payload: bytes, context: grpc.ServicerContext) -> bytes:
        if not collector.took(payload):
            context.abort(grpc.StatusCode.UNAVAILABLE, "CANARY")
        return b""

    service, method = METHODS["metrics"].lstrip("/").split("/")
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    handlers = {method: grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return port, lambda: server.stop(grace=None).wait() and None
