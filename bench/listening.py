"""The clients of paced streams, a process of its own: how late each event comes.

    python -m bench.listening HOST:PORT STREAMS EVENTS PACE

It prints as JSON: `events` that came, `errors` (streams that were not the provider's, byte by byte), `late` (events
that came more than a second after they were sent), and in milliseconds `first`, from a request to its first event, and
`delay`, from an event's being sent by the provider to its being here: each with p50, p99 and p999.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import click
import uvloop
from typing_extensions import override

from bench.exchanges import request
from bench.load import Latency
from bench.ticking import DIGITS, STAMP, chunks

_LATE = 1_000_000_000  # nanoseconds
_BLANK = b'"obfuscation":"%0*d"' % (DIGITS, 0)
_CHUNK = re.compile(rb"[0-9a-f]+\r\n(event: .*?\n\n)\r\n", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of all streams."""

    events: int
    errors: int
    late: int
    first: Latency
    delay: Latency


@dataclass(slots=True)
class _Times:
    """Nanoseconds, of all streams."""

    first: list[int] = field(default_factory=list)
    delay: list[int] = field(default_factory=list)


class _Listener(asyncio.Protocol):
    """One stream."""

    def __init__(self, times: _Times, asked: bytes) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.body = bytearray()
        self._times = times
        self._asked = asked
        self._began = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._began = time.monotonic_ns()
        cast("asyncio.Transport", transport).write(self._asked)  # a TCP connection's

    @override
    def data_received(self, data: bytes) -> None:
        now, delay = time.monotonic_ns(), self._times.delay
        if self._began and b"data: " in data:
            self._times.first.append(now - self._began)
            self._began = 0
        for stamp in STAMP.findall(data):
            delay.append(now - int(stamp))
        self.body += data
        if data.endswith(b"0\r\n\r\n") and not self.done.done():
            self.done.set_result(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def listen(address: str, streams: int, events: int, pace: float) -> Heard:
    """Have so many streams at once, which begin within one `pace`, and hear all of them to their end."""
    times, asked = _Times(), request(stream=True, more=f"x-stream: {events} {pace}\n")
    host, _, port = address.rpartition(":")
    loop, listeners = asyncio.get_running_loop(), list[_Listener]()
    # Within a second at least: what opening a thousand streams at once costs is another question.
    apart = max(pace, 1.0) / streams
    for _ in range(streams):
        _, one = await loop.create_connection(lambda: _Listener(times, asked), host, int(port))
        listeners.append(one)
        await asyncio.sleep(apart)
    await asyncio.gather(*(one.done for one in listeners))
    wanted = tuple(_CHUNK.sub(rb"\1", chunk) for chunk in chunks(events))
    return Heard(
        events=sum(len(_told(bytes(one.body))) for one in listeners),
        errors=sum(_told(bytes(one.body)) != wanted for one in listeners),
        late=sum(one > _LATE for one in times.delay),
        first=_milliseconds(times.first),
        delay=_milliseconds(times.delay),
    )


def _told(response: bytes) -> tuple[bytes, ...]:
    """The events of a response, without their times, whatever chunks they came in."""
    head, _, body = response.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        return ()
    joined, at = bytearray(), 0
    while (line := body.find(b"\r\n", at)) > at and (size := int(body[at:line], 16)):
        joined += body[line + 2 : line + 2 + size]
        at = line + 2 + size + 2
    whole = STAMP.sub(_BLANK, bytes(joined))
    return tuple(event + b"\n\n" for event in whole.split(b"\n\n")[:-1])


def _milliseconds(found: Sequence[int]) -> Latency:
    ordered = sorted(found)
    p50, p99, p999 = (ordered[int(len(ordered) * part)] / 1e6 if ordered else 0.0 for part in (0.5, 0.99, 0.999))
    return Latency(p50=p50, p99=p99, p999=p999)


if __name__ == "__main__":
    address, *numbers = sys.argv[1:]
    heard = uvloop.run(listen(address, int(numbers[0]), int(numbers[1]), float(numbers[2])))
    click.echo(json.dumps(asdict(heard)))
