"""TLS in front of a PostgreSQL that was built without: what a client sees of one that has it (manual, 54.2.11)."""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import trustme

SSL_REQUEST = 8  # bytes
CHUNK = 65_536


@asynccontextmanager
async def tls(port: int, certificate: trustme.LeafCert) -> AsyncIterator[int]:
    """The port at which the server at `port` of 127.0.0.1 is reached over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        if task := asyncio.current_task():
            serving.add(task)
        with suppress(OSError, EOFError), closing(writer):  # a client that does not like the certificate
            await reader.readexactly(SSL_REQUEST)
            writer.write(b"S")
            await writer.start_tls(context)
            behind, towards = await asyncio.open_connection("127.0.0.1", port)
            with closing(towards):
                await asyncio.gather(_pump(reader, towards), _pump(behind, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*serving)


async def _pump(source: StreamReader, sink: StreamWriter) -> None:
    with closing(sink):
        while chunk := await source.read(CHUNK):
            sink.write(chunk)
            await sink.drain()
