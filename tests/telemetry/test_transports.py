import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import grpc
import pytest

from examples.otlp_receiver import Receiver
from sidecar.settings.otel import Way
from sidecar.telemetry.transports import METHODS, Grpc, Http, Outcome, Transport
from tests.e2e.waiting import PATIENCE

PATIENT = Way(timeout=10.0)


def to_grpc(endpoint: str) -> Transport:
    return Grpc(endpoint, METHODS["traces"], Way(timeout=1.0))


def to_http(endpoint: str) -> Transport:
    return Http(f"{endpoint}/v1/traces", Way(timeout=1.0))


@contextmanager
def http_server(status: int) -> Iterator[tuple[str, list[str]]]:
    """An endpoint that answers every POST with `status`, and the paths that were asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            paths.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    server.server_close()


@contextmanager
def grpc_server(code: grpc.StatusCode) -> Iterator[str]:
    """An endpoint that answers every export with `code`."""

    def export(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "no")

    service, method = METHODS["traces"].lstrip("/").split("/")
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    handlers = {method: grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    assert server.stop(grace=None).wait(PATIENCE)


@contextmanager
def silence() -> Iterator[str]:
    """An endpoint at which nobody listens: the port is held, so that nobody else gets it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_bytes_arrive_over_grpc() -> None:
    with Receiver() as receiver:
        transport = Grpc(receiver.endpoint, METHODS["traces"], PATIENT)
        assert transport.send(b"") is Outcome.DELIVERED
        transport.close()
        assert receiver.payloads == (b"",)


def test_bytes_arrive_over_http() -> None:
    with Receiver() as receiver:
        transport = Http(f"{receiver.http_endpoint}/v1/traces", PATIENT)
        assert transport.send(b"") is Outcome.DELIVERED
        transport.close()
        assert receiver.payloads == (b"",)


def test_the_url_is_taken_as_it_is() -> None:
    with http_server(200) as (endpoint, paths):
        Http(f"{endpoint}/otlp/v1/traces", PATIENT).send(b"")
    assert paths == ["/otlp/v1/traces"]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (202, Outcome.DELIVERED),
        (302, Outcome.REFUSED),
        (400, Outcome.REFUSED),
        (401, Outcome.REFUSED),
        (429, Outcome.UNAVAILABLE),
        (500, Outcome.REFUSED),
        (502, Outcome.UNAVAILABLE),
        (503, Outcome.UNAVAILABLE),
        (504, Outcome.UNAVAILABLE),
    ],
)
def test_an_http_status_says_whether_to_try_again(status: int, outcome: Outcome) -> None:
    """OTLP specification, "Retryable Response Codes"."""
    with http_server(status) as (endpoint, _):
        assert Http(f"{endpoint}/v1/traces", PATIENT).send(b"") is outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (grpc.StatusCode.UNAVAILABLE, Outcome.UNAVAILABLE),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Outcome.UNAVAILABLE),
        (grpc.StatusCode.INVALID_ARGUMENT, Outcome.REFUSED),
        (grpc.StatusCode.UNAUTHENTICATED, Outcome.REFUSED),
    ],
)
def test_a_grpc_status_says_whether_to_try_again(code: grpc.StatusCode, outcome: Outcome) -> None:
    """OTLP specification, "Failures" of OTLP/gRPC."""
    with grpc_server(code) as endpoint:
        transport = Grpc(endpoint, METHODS["traces"], PATIENT)
        assert transport.send(b"") is outcome
        transport.close()


@pytest.mark.parametrize("kind", [to_grpc, to_http])
def test_nobody_there_is_worth_another_attempt(kind: Callable[[str], Transport]) -> None:
    with silence() as endpoint:
        transport = kind(endpoint)
        assert transport.send(b"") is Outcome.UNAVAILABLE
        transport.close()
        transport.close()


@pytest.mark.parametrize("kind", [to_grpc, to_http])
def test_https_never_speaks_in_the_clear(kind: Callable[[str], Transport]) -> None:
    """A collector without TLS is not one to whom an https endpoint sends spans."""
    with Receiver() as receiver:
        plain = receiver.endpoint if kind is to_grpc else receiver.http_endpoint
        transport = kind(plain.replace("http://", "https://"))
        assert transport.send(b"") is Outcome.UNAVAILABLE
        transport.close()
        assert receiver.payloads == ()
