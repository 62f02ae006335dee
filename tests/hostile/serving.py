"""A worker's real gRPC server and journal in a thread of their own, for tests that hypothesis calls many times."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingResponse

from sidecar.core.policy import Bounds
from tests.contract.peer import METHOD, PATIENCE
from tests.contract.worker import POLICY, Worker, serving

BOUNDS = Bounds(request_bytes=1 << 20, response_bytes=1 << 20, event_bytes=1 << 18, recorded_bytes=1 << 16)
_UNLIMITED = (("grpc.max_send_message_length", -1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """All that one stream was answered, and how it ended."""

    replies: Sequence[bytes]
    code: grpc.StatusCode

    def kinds(self) -> list[str | None]:
        """What each reply is about; None for one that says nothing."""
        return [ProcessingResponse.FromString(reply).WhichOneof("response") for reply in self.replies]


@dataclass(frozen=True, slots=True)
class Serving:
    """One that runs."""

    worker: Worker = field(repr=False)
    _loop: asyncio.AbstractEventLoop = field(repr=False)
    _channel: grpc.Channel = field(repr=False)

    def play(self, *messages: bytes) -> Heard:
        """Say all of it without waiting, and hear it to its end; DEADLINE_EXCEEDED where there is none."""
        heard: list[bytes] = []
        call = self._channel.stream_stream(METHOD)(iter(messages), timeout=PATIENCE)
        with suppress(grpc.RpcError):  # its code is asked for
            heard.extend(call)
        return Heard(replies=heard, code=call.code())

    def left(self) -> tuple[int, int, int]:
        """Once all streams are over: how many still count as open, and the bytes held of requests and of responses."""
        asyncio.run_coroutine_threadsafe(self.worker.settled(), self._loop).result(2 * PATIENCE)
        processor = self.worker.processor
        return processor.streams, processor.held, processor.kept

    def open_interceptions(self) -> int:
        """How many the journal does not know the end of."""
        return self.worker.ends().count((None, None, None))


@contextmanager
def running(folder: Path) -> Iterator[Serving]:
    """One with small bounds, whose interceptions have all ended when it is left."""
    with ThreadPoolExecutor(1, "worker") as pool:
        loop = asyncio.new_event_loop()
        pool.submit(loop.run_forever)
        serves = serving(folder, policy=replace(POLICY, bounds=BOUNDS))
        try:
            worker = asyncio.run_coroutine_threadsafe(serves.__aenter__(), loop).result(PATIENCE)
            with grpc.insecure_channel(f"unix:{folder}/s", options=_UNLIMITED) as channel:
                started = Serving(worker, loop, channel)
                yield started
                assert started.left() == (0, 0, 0)
                assert started.open_interceptions() == 0
        finally:
            asyncio.run_coroutine_threadsafe(serves.__aexit__(None, None, None), loop).result(PATIENCE)
            loop.call_soon_threadsafe(loop.stop)
    loop.close()
