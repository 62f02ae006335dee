"""The clients of a gateway of any make, a process of its own: as `bench.load`, but any whole 200 is an answer.

    python -m bench.peers.asking HOST:PORT PATH json|sse CONNECTIONS REQUESTS EVENTS HEADERS

`HEADERS`: a JSON object. It prints as JSON: `errors` (no 200, or one that was cut), `altered` (whole, but not the
provider's bytes), `seconds`, and in milliseconds `latency` and `first`, from a request to its first byte of body.
"""

import asyncio
import json
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

import click
import uvloop

from bench.exchanges import PATH, document, pieces, request
from bench.load import Latency

_PATIENCE = 120.0  # seconds for an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of `address`."""

    address: str
    path: str
    kind: str
    connections: int
    requests: int
    events: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of it."""

    errors: int
    altered: int
    seconds: float
    latency: Latency
    first: Latency


@dataclass(slots=True)
class _Found:
    errors: int = 0
    altered: int = 0
    took: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)


def asked(what: Asked) -> bytes:
    """The request as it goes over the connection: the usual one, with the peer's path and headers."""
    more = "".join(f"{name}: {value}\n" for name, value in what.headers.items())
    return request(stream=what.kind == "sse", more=more).replace(PATH.encode(), what.path.encode(), 1)


async def ask(what: Asked) -> Answered:
    """Put the load on it."""
    expected = b"".join(pieces(what.events)) if what.kind == "sse" else document()
    found, todo, sent = _Found(), iter(range(what.requests)), asked(what)
    began = time.perf_counter()
    await asyncio.gather(*(_client(what.address, sent, expected, todo, found) for _ in range(what.connections)))
    seconds = time.perf_counter() - began
    latency, first = _latency(found.took), _latency(found.first)
    return Answered(errors=found.errors, altered=found.altered, seconds=seconds, latency=latency, first=first)


async def _client(address: str, sent: bytes, expected: bytes, todo: Iterator[int], found: _Found) -> None:
    host, _, port = address.rpartition(":")
    writer = None
    for _ in todo:
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(host, int(port))
            began = time.perf_counter()
            writer.write(sent)
            async with asyncio.timeout(_PATIENCE):
                head, body, first = await answer(reader)
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            found.errors += 1
            if writer:
                writer.transport.abort()
            writer = None
            continue
        if not head.startswith(b"http/1.1 200 "):
            found.errors += 1
            continue
        found.took.append(time.perf_counter() - began)
        found.first.append(first - began)
        found.altered += body != expected
    if writer:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes, float]:
    """Head in small letters, body without its transfer and content encodings, and when the body began."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    told = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    if b"content-length" in told:
        body = await reader.readexactly(int(told[b"content-length"]))
        first = time.perf_counter()
    else:
        parts, first = list[bytes](), 0.0
        while size := int(await reader.readuntil(b"\r\n"), 16):
            first = first or time.perf_counter()
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readexactly(2)
        body = b"".join(parts)
    encoded = told.get(b"content-encoding", b"") in {b"gzip", b"deflate"}
    return head, zlib.decompress(body, zlib.MAX_WBITS | 32) if encoded else body, first


def _latency(took: list[float]) -> Latency:
    ordered = sorted(took)
    p50, p99, p999 = (1000 * ordered[int(len(ordered) * part)] if ordered else 0.0 for part in (0.5, 0.99, 0.999))
    return Latency(p50=p50, p99=p99, p999=p999)


def main() -> None:
    """Do what the arguments say."""
    address, path, kind, connections, requests, events, headers = sys.argv[1:]
    counts = {"connections": int(connections), "requests": int(requests), "events": int(events)}
    what = Asked(address=address, path=path, kind=kind, headers=json.loads(headers), **counts)
    click.echo(json.dumps(asdict(uvloop.run(ask(what)))))


if __name__ == "__main__":
    main()
