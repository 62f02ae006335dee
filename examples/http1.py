"""As much HTTP/1.1 (RFC 9112) as a provider needs, over asyncio's streams."""

import asyncio
from collections.abc import AsyncIterator, Callable

from examples.answers import Answer, Pairs, Seen

HEAD_BYTES = 1 << 20


class Reader(asyncio.StreamReader):
    """A stream reader that tells at once when the other side has gone, without being read."""

    def __init__(self) -> None:
        super().__init__(limit=HEAD_BYTES)
        self._ended = False
        self._leave: Callable[[], object] | None = None

    def watch(self, leave: Callable[[], object] | None) -> None:
        """Call `leave` when the other side goes, or has gone; None: nobody waits any more."""
        self._leave = leave
        self._tell()

    def feed_eof(self) -> None:
        """The other side sends no more."""
        super().feed_eof()
        self._ended = True
        self._tell()

    def set_exception(self, exc: Exception) -> None:
        """The connection broke."""
        super().set_exception(exc)
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        if self._ended and self._leave:
            self._leave()


async def request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Seen | None:
    """The next request with its body; None when no more will come, or what comes is not HTTP."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        start, *lines = head[:-4].decode("latin-1").split("\r\n")
        method, target, _ = start.split(" ")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        return None
    headers = tuple((name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines))
    seen = Seen(method=method, target=target, headers=headers)
    if (seen.first("expect") or "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body, complete = await _body(reader, seen)
    return Seen(method=method, target=target, headers=headers, body=body, complete=complete)


async def send(writer: asyncio.StreamWriter, answer: Answer, released: asyncio.Event) -> bool:
    """Whether the answer was sent to its end: False when it died, as it should."""
    await asyncio.sleep(answer.hang)
    head = b""
    for position, frame in enumerate(answer.frames(), -1):
        if position in (answer.hold, answer.die):
            head = await _flush(writer, head)
            if answer.hold == position:
                await released.wait()
            if answer.die == position:
                return False
        if answer.pace and position > 0:
            await asyncio.sleep(answer.pace)
        # The head goes with the first piece: one write, one wakeup of the reader.
        head = frame if position < 0 else await _flush(writer, head + frame)
    return True


def closes(headers: Pairs) -> bool:
    """Whether a message says that its connection ends with it."""
    return any(name.lower() == "connection" and value.lower() == "close" for name, value in headers)


async def _flush(writer: asyncio.StreamWriter, data: bytes) -> bytes:
    if data:
        writer.write(data)
        await writer.drain()
    return b""


async def _body(reader: asyncio.StreamReader, seen: Seen) -> tuple[bytes, bool]:
    pieces: list[bytes] = []
    try:
        async for piece in _pieces(reader, seen):
            pieces.append(piece)  # noqa: PERF401 - what came before a break is kept
    except asyncio.IncompleteReadError as broken:
        return b"".join((*pieces, broken.partial)), False
    return b"".join(pieces), True


async def _pieces(reader: asyncio.StreamReader, seen: Seen) -> AsyncIterator[bytes]:
    if (seen.first("transfer-encoding") or "").lower() != "chunked":
        yield await reader.readexactly(int(seen.first("content-length") or 0))
        return
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readuntil(b"\r\n")
    while await reader.readuntil(b"\r\n") != b"\r\n":
        continue
