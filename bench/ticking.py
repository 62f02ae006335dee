"""A provider of paced streams, a process of its own, whose every delta says when it was sent.

    python -m bench.ticking     prints its URL

A request says in `x-stream` how many events it wants, and how many seconds apart. The provider does nothing else, so
that a thousand streams can be paced without its being what is measured. The time, of the clock that all processes of a
machine share (CLOCK_MONOTONIC, nanoseconds), stands in `obfuscation`, which the API fills with characters that mean
nothing.
"""

import asyncio
import re
import sys
import time
from functools import cache
from typing import Final, cast

import click
import uvloop
from typing_extensions import override

from bench.exchanges import pieces
from examples.provider import LOOPBACK

DIGITS: Final = 16
STAMP: Final = re.compile(rb'"obfuscation":"(\d{%d})"' % DIGITS)
_WANTED = re.compile(rb"\r\nx-stream: (\d+) ([0-9.]+)\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_PADDING = b'"obfuscation":"Vh1q7Lx0"'
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\nx-request-id: req_4f\r\n\r\n"
)
_END = b"0\r\n\r\n"


def chunks(count: int) -> tuple[bytes, ...]:
    """The stream's chunks, each an event; of deltas the time is 0."""
    blank = b'"obfuscation":"%0*d"' % (DIGITS, 0)
    told = (piece.replace(_PADDING, blank) for piece in pieces(count))
    return tuple(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in told)


Parts = tuple[tuple[bytes, bytes], ...]


class _Answering(asyncio.Protocol):
    """One connection: answers each request with a stream."""

    def __init__(self) -> None:
        self._parts: Parts = ()
        self._pace = 0.0
        self._heard = b""
        self._tick: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # a TCP connection's

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._tick is not None:
            self._tick.cancel()

    @override
    def data_received(self, data: bytes) -> None:
        self._heard += data
        _, _, body = self._heard.partition(b"\r\n\r\n")
        length, wanted = _LENGTH.search(self._heard), _WANTED.search(self._heard)
        if length and wanted and len(body) >= int(length[1]):
            self._heard = b""
            self._parts, self._pace = _parts(int(wanted[1])), float(wanted[2])
            self._transport.write(_HEAD)
            self._next(0, asyncio.get_running_loop().time())

    def _next(self, number: int, due: float) -> None:
        """Send the event of this number, which is due; the next one keeps the pace however late this one is."""
        if number == len(self._parts):
            self._transport.write(_END)
            return
        before, after = self._parts[number]
        self._transport.write(before + b"%0*d" % (DIGITS, time.monotonic_ns()) + after if after else before)
        self._tick = asyncio.get_running_loop().call_at(due + self._pace, self._next, number + 1, due + self._pace)


@cache
def _parts(count: int) -> Parts:
    return tuple(map(parted, chunks(count)))


def parted(chunk: bytes) -> tuple[bytes, bytes]:
    """What stands before the time and what after it; nothing after, where there is none."""
    stamp = STAMP.search(chunk)
    return (chunk[: stamp.start(1)], chunk[stamp.end(1) :]) if stamp else (chunk, b"")


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Answering, LOOPBACK, 0, backlog=2048)
    host, port = server.sockets[0].getsockname()[:2]
    click.echo(f"http://{host}:{port}")
    gone = asyncio.Event()
    loop.add_reader(sys.stdin, gone.set)  # nothing is written there: it becomes readable when the parent has gone
    await gone.wait()


if __name__ == "__main__":
    uvloop.run(_serve())
