"""The process that serves the pages."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from sidecar import logs
from sidecar.console.pages import application
from sidecar.core.errors import BadSetting
from sidecar.settings import Settings, host_and_port
from sidecar.signals import endings

log = structlog.get_logger()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn ends by the signal itself, which is no exit status of 0."""
        yield


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or ctrl-C, and end the process with 0. Raises `BadSetting` when the address is not free."""
    listening = _listening(settings.console.listen)
    asyncio.run(_serve(settings, listening))
    logs.drain()
    # A thread may wait for a database still. It only reads: nobody else need wait for it.
    os._exit(0)


async def _serve(settings: Settings, listening: socket.socket) -> None:
    config = uvicorn.Config(
        application(settings),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # its own lines hold stacks and URLs, which hold names
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=0,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for order in endings():
        loop.add_signal_handler(order, _stop, server)
    log.info("ready", console=f"http://{settings.console.listen}/")
    await server.serve(sockets=[listening])


def _stop(server: uvicorn.Server) -> None:
    server.should_exit = server.force_exit = True


def _listening(address: str) -> socket.socket:
    host, port = host_and_port(address)
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        msg = f"console.listen = {address!r}: {os.strerror(error.errno or 0)}"
        raise BadSetting(msg) from None
