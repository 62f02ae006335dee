"""The clients, a process of their own: so many keep-alive connections, each asking again when it has its answer.

    python -m bench.load HOST:PORT json|sse CONNECTIONS REQUESTS EVENTS [sampled|unsampled]

It prints what came of it as JSON: `errors` (answers other than the provider's very bytes) and `seconds`.
"""

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from itertools import repeat

import click
import uvloop

from bench.exchanges import document, pieces, request

_LIMIT = 1 << 26  # bytes of an answer
_STAGGER = 0.05  # seconds between two connections' first requests, so that streams do not march in step
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_OK = b"HTTP/1.1 200 "
_END = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one load."""

    errors: int
    seconds: float


async def load(  # noqa: PLR0913 - what a load is
    address: str, kind: str, *, connections: int, requests: int, count: int, sampled: bool | None = None
) -> Outcome:
    """Put `requests` requests on `connections` connections to `address`, in all; `count`: events of a stream.

    `sampled`: as for `request`.
    """
    is_stream = kind == "sse"
    asked = request(stream=is_stream, sampled=sampled)
    expected = b"".join(pieces(count)) if is_stream else document()
    todo = repeat(None, requests)
    stagger = _STAGGER if is_stream else 0.0
    began = time.perf_counter()
    clients = (_client(address, asked, expected, todo, number * stagger) for number in range(connections))
    errors = sum(await asyncio.gather(*clients))
    return Outcome(errors=errors, seconds=time.perf_counter() - began)


async def _client(address: str, asked: bytes, expected: bytes, todo: "repeat[None]", delay: float) -> int:
    """How many of the answers on one connection were not as expected."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=_LIMIT)
    await asyncio.sleep(delay)
    errors = 0
    for _ in todo:
        writer.write(asked)
        errors += await _answer(reader) != expected
    writer.close()
    return errors


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
    address, kind, *numbers = sys.argv[1:]
    connections, requests, count = map(int, numbers[:3])
    sampled = {"sampled": True, "unsampled": False}.get(numbers[3]) if numbers[3:] else None
    outcome = uvloop.run(load(address, kind, connections=connections, requests=requests, count=count, sampled=sampled))
    click.echo(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
