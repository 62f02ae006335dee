"""A way through TCP that a test can make slow, or cut: between a bridge and its store."""

import asyncio
import random
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Self

PATIENCE = 30.0  # seconds
_READ = 65_536  # bytes at once
_SOON = (200, 20_000)  # bytes after which a connection is cut: amid a greeting, or amid a batch


class Relay:
    """A context manager: inside, whoever connects to `port` speaks with `target`, a port on loopback.

    `delay`: seconds that every piece takes in either direction. `cuts`: whether each connection ends soon, anywhere.
    """

    def __init__(self, target: int) -> None:
        self.delay = 0.0
        self.cuts = False
        self.made = 0  # connections
        self._target = target
        self._chance = random.Random(target)  # noqa: S311 - where a connection is cut is no secret
        self._running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._running.result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        loop, stop, _ = self._running.result(PATIENCE)
        loop.call_soon_threadsafe(stop.set)
        self._thread.join(PATIENCE)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._running.result(PATIENCE)[2]

    async def _run(self) -> None:
        stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        self._running.set_result((asyncio.get_running_loop(), stop, port))
        await stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        left = [self._chance.randint(*_SOON)]
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            ways = (self._pass(reader, back, left), self._pass(there, writer, left))
            await asyncio.wait(map(asyncio.ensure_future, ways), return_when=asyncio.FIRST_COMPLETED)
            back.transport.abort()
        writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]) -> None:
        with suppress(OSError):
            while piece := await reader.read(_READ):
                await asyncio.sleep(self.delay)
                left[0] -= len(piece)
                if self.cuts and left[0] < 0:
                    return
                writer.write(piece)
                await writer.drain()
