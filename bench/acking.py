"""What the sidecar is measured against: a processor that says yes to everything and reads nothing.

    python -m bench.acking SOCKET VERDICT

Written as such a thing is in Python: grpc.aio on uvloop, requests parsed by protobuf, an asynchronous generator that
yields a reply for each message, and the replies, since they never differ, encoded once.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from typing import Final, TypeAlias

import grpc
import uvloop
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyResponse,
    HeadersResponse,
    ProcessingRequest,
    ProcessingResponse,
    TrailersResponse,
)
from google.protobuf.struct_pb2 import Struct
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sidecar.core.replies import DECISION, NAMESPACE

Method: TypeAlias = "grpc.RpcMethodHandler[ProcessingRequest, bytes]"

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"


class Acking:
    """The service. `verdict`: the metadata value that lets a request through RBAC."""

    def __init__(self, verdict: str) -> None:
        noted = Struct()
        noted.update({NAMESPACE: {DECISION: verdict}})
        responses = (
            ProcessingResponse(request_headers=HeadersResponse()),
            ProcessingResponse(request_body=BodyResponse(), dynamic_metadata=noted),
            ProcessingResponse(response_headers=HeadersResponse()),
            ProcessingResponse(response_body=BodyResponse()),
            ProcessingResponse(response_trailers=TrailersResponse()),
        )
        self._replies = {response.WhichOneof("response"): response.SerializeToString() for response in responses}

    async def process(self, requests: AsyncIterator[ProcessingRequest], _: object) -> AsyncIterator[bytes]:
        """Serve one stream."""
        async for request in requests:
            yield self._replies[request.WhichOneof("request")]

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service as grpc wants it."""
        process: Method = grpc.stream_stream_rpc_method_handler(
            self.process, request_deserializer=ProcessingRequest.FromString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": process})


async def _serve(path: str, verdict: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(sys.stdin, stop.set)  # nothing is written there: it becomes readable when the parent has gone
    server = aio.server()
    server.add_generic_rpc_handlers((Acking(verdict).handler(),))
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    await stop.wait()
    await server.stop(0.2)


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
