"""How a worker's service is served: gRPC's public server on asyncio, or the faster one of `completion_queue`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sidecar.core.errors import SidecarError
from sidecar.server import SERVICE, Processor
from sidecar.settings.model import ServerKind

_OVERHEAD = 1_048_576  # bytes of a message beside the body: headers, attributes, framing
_LARGEST_CHUNK = 8_388_608  # bytes; of a response Envoy sends what its buffers hold at once, seen up to 2 MiB


class Server(Protocol):
    """What serves one worker. Its health is that of gRPC's health checking protocol, `Check` of it at least."""

    async def start(self) -> None:
        """Serve."""

    async def enter_graceful_shutdown(self) -> None:
        """Be found unhealthy, so that nothing new is sent here."""

    async def stop(self, grace: float) -> None:
        """Take no call any more; those under way have `grace` seconds to end."""


async def listen(processor: Processor, socket: Path, kind: ServerKind) -> Server:
    """What serves `processor` at that Unix socket, from now on. Raises SidecarError where it cannot."""
    server = _server(processor, socket, kind)
    await server.start()
    return server


def _server(processor: Processor, socket: Path, kind: ServerKind) -> Server:
    options = _options(processor.policy.bounds.request_bytes)
    try:
        if kind == "asyncio":
            return _Asyncio(processor, socket, options)
        from sidecar import completion_queue  # noqa: PLC0415 - what grpc does not promise is touched by its setting alone

        return completion_queue.Server(processor, socket, options)
    except RuntimeError:
        msg = f"cannot listen at {socket}"
        raise SidecarError(msg) from None


def _options(request_bytes: int) -> Sequence[tuple[str, int]]:
    largest = max(request_bytes, _LARGEST_CHUNK) + _OVERHEAD
    return (
        ("grpc.max_receive_message_length", largest),
        ("grpc.max_send_message_length", largest),
        ("grpc.so_reuseport", 0),
    )


class _Asyncio:
    """grpc.aio's."""

    def __init__(self, processor: Processor, socket: Path, options: Sequence[tuple[str, int]]) -> None:
        self._server = aio.server(options=options)
        self._server.add_generic_rpc_handlers((processor.handler(),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_insecure_port(f"unix:{socket}")

    async def start(self) -> None:
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def enter_graceful_shutdown(self) -> None:
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        await self._server.stop(grace)
