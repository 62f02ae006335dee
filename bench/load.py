"""The clients, a process of their own: so many keep-alive connections, each asking again when it has its answer.

    python -m bench.load HOST:PORT json|sse CONNECTIONS REQUESTS EVENTS [sampled|unsampled] [size=BYTES] [leave=PERCENT]
        [path=PATH] [more=HEADERS]

`size`: of a request's body, about. `leave`: of the clients of a stream as many leave amid it; these are no errors.
`more`: lines of headers, each with its end. It prints what came of it as JSON: `errors` (answers other than the
provider's very bytes), `altered` (those of them that are a whole 200), `seconds`, and `latency`, from a request's first
byte to its answer's last.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click
import uvloop

from bench.exchanges import PATH, document, pieces, request

_LIMIT = 1 << 26  # bytes of an answer
_STAGGER = 0.05  # seconds between two connections' first requests, so that streams do not march in step
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_OK = b"HTTP/1.1 200 "
_END = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long it took, in milliseconds: so many percent were faster."""

    p50: float
    p99: float
    p999: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one load."""

    errors: int
    altered: int
    seconds: float
    latency: Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked of `address`: `requests` in all, on so many connections at once.

    `events`: of a stream. `sampled`, `size`, `more`: as for `request`. `leave`: percent of a stream's clients that
    leave amid.
    """

    address: str
    kind: str
    connections: int
    requests: int
    events: int
    sampled: bool | None = None
    size: int = 1024
    leave: int = 0
    path: str = PATH
    more: str = ""


async def load(what: Load) -> Outcome:
    """Put a load on a bridge, or on whatever answers as the provider does."""
    is_stream = what.kind == "sse"
    asked = request(stream=is_stream, sampled=what.sampled, size=what.size, more=what.more)
    asked = asked.replace(PATH.encode(), what.path.encode(), 1)
    expected = b"".join(pieces(what.events)) if is_stream else document()
    todo = iter(range(what.requests))
    stagger = _STAGGER if is_stream else 0.0
    began = time.perf_counter()
    clients = (_client(what, asked, expected, todo, number * stagger) for number in range(what.connections))
    found = await asyncio.gather(*clients)
    seconds = time.perf_counter() - began
    took = sorted(one for _, _, several in found for one in several)
    errors, altered = sum(one for one, _, _ in found), sum(one for _, one, _ in found)
    return Outcome(errors=errors, altered=altered, seconds=seconds, latency=_latency(took))


async def _client(
    what: Load, asked: bytes, expected: bytes, todo: Iterator[int], delay: float
) -> tuple[int, int, list[float]]:
    """Of the answers on one connection: not as expected, of those a whole 200, and how many seconds each took."""
    await asyncio.sleep(delay)
    errors, altered, took = 0, 0, list[float]()
    reader, writer = await _connected(what.address)
    for number in todo:
        began = time.perf_counter()
        writer.write(asked)
        try:
            if number % 100 < what.leave:
                await reader.readexactly(len(expected) // 2)
            else:
                answer = await _answer(reader)
                errors += answer != expected
                altered += answer not in {b"", expected}
                took.append(time.perf_counter() - began)
                continue
        except (asyncio.IncompleteReadError, ConnectionError):
            errors += 1
        writer.transport.abort()
        reader, writer = await _connected(what.address)
    writer.close()
    return errors, altered, took


async def _connected(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port), limit=_LIMIT)


def _latency(took: Sequence[float]) -> Latency:
    p50, p99, p999 = (1000 * took[int(len(took) * part)] if took else 0.0 for part in (0.5, 0.99, 0.999))
    return Latency(p50=p50, p99=p99, p999=p999)


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The body of a 200; of anything else nothing."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else _joined(await reader.readuntil(_END))
    return body if head.startswith(_OK) else b""


def _joined(chunked: bytes) -> bytes:
    """A chunked body's content (RFC 9112, section 7.1)."""
    found: list[bytes] = []
    at = 0
    while size := int(chunked[at : (line := chunked.index(b"\r\n", at))], 16):
        found.append(chunked[line + 2 : line + 2 + size])
        at = line + 2 + size + 2
    return b"".join(found)


def main() -> None:
    """Do what the arguments say."""
    address, kind, *numbers = sys.argv[1:5]
    connections, requests, events, *how = (*numbers, *sys.argv[5:])
    told = dict(word.split("=", 1) for word in how if "=" in word)
    more: dict[str, Any] = {name: value if name in {"path", "more"} else int(value) for name, value in told.items()}
    what = Load(
        address=address,
        kind=kind,
        connections=int(connections),
        requests=int(requests),
        events=int(events),
        sampled=True if "sampled" in how else False if "unsampled" in how else None,
        **more,
    )
    click.echo(json.dumps(asdict(uvloop.run(load(what)))))


if __name__ == "__main__":
    main()
