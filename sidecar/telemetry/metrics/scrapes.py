"""`GET /metrics`: what all processes of a bridge have counted, for Prometheus. On the parent's event loop."""

import asyncio
from http import HTTPStatus
from pathlib import Path

import structlog

from sidecar.settings import Settings, host_and_port
from sidecar.telemetry.metrics import folder

log = structlog.get_logger()

_BOUND = 5.0  # seconds for a request and its answer
_HEAD = 8192  # bytes of a request
_MOST = 16  # connections at once
_TEXT = "text/plain; charset=utf-8"


class Scrapes:
    """The address that `telemetry.metrics` names. Empty: nobody listens, and nothing is imported."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.telemetry.metrics
        self._folder = folder(settings)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Answer from now on; where the address is another's, a warning: traffic matters more."""
        if not self._address:
            return
        host, port = host_and_port(self._address)
        try:
            self._server = await asyncio.start_server(self._accept, host, port, limit=_HEAD)
        except OSError as error:
            log.warning(
                "metrics are not served", setting="telemetry.metrics", address=self._address, reason=error.strerror
            )

    def close(self) -> None:
        """Take no more connections, and leave those who are being answered."""
        if self._server:
            self._server.close()
        for task in self._open:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _MOST:
            writer.close()
            return
        # A task of our own: of one that asyncio made for a connection, Python 3.11 would log that it was cancelled.
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_BOUND):
                writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who does not ask in order, or hear the answer, gets none
        finally:
            writer.close()

    async def _answer(self, request: bytes) -> bytes:
        match request.partition(b"\r\n")[0].split(b" "):
            case [b"GET", target, _] if target.partition(b"?")[0] == b"/metrics":
                return await asyncio.to_thread(_exposed, self._folder)
            case [b"GET", _, _]:
                return _response(HTTPStatus.NOT_FOUND)
            case [_, _, _]:
                return _response(HTTPStatus.METHOD_NOT_ALLOWED)
        return _response(HTTPStatus.BAD_REQUEST)


def _exposed(directory: Path) -> bytes:
    # Time and memory, for those who want metrics.
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415 - see above
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415 - likewise

    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
        return _response(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
    except (OSError, ValueError):  # the disk's fault, or the directory is gone
        return _response(HTTPStatus.INTERNAL_SERVER_ERROR)


def _response(status: HTTPStatus, content_type: str = _TEXT, body: bytes = b"") -> bytes:
    body = body or f"{status.phrase}\n".encode()
    allow = "Allow: GET\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{allow}Connection: close\r\n\r\n"
    )
    return head.encode() + body
