"""The compressions that a content-encoding can name, each decoded member by member and never much at once.

How much a slice can become at once is bounded by the library where it can do that (zlib, brotli), else by the slice's
own size (zstd). All three let go of the interpreter's lock while they work.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol

import brotli  # type: ignore[import-untyped]  # ships no types
from typing_extensions import override
from zstandard import ZstdDecompressor, ZstdError

PIECE: Final = 65_536
GULP: Final = 4 << 20  # where a library must be let go unbounded: so much at a time …
MARGIN: Final = 2 << 20  # … and so much more than there is room for
WINDOW: Final = 8 << 20  # the most that RFC 9659 lets an encoder use
BLOCK: Final = 128 << 10  # the most that a zstd block can hold (RFC 8878, section 3.1.1.2.4)
DENSEST: Final = 4  # bytes of an RLE block, the smallest that can hold so much
ZLIB: Final = 8  # how zlib's format begins: the low four bits of its first byte, and a window no wider than 15 bits

CORRUPT: Final[tuple[type[Exception], ...]] = (zlib.error, brotli.error, ZstdError)
"""What `Member.feed` raises."""


class Member(Protocol):
    """One gzip member, one zstd frame; of deflate and brotli the only one."""

    @property
    def ended(self) -> bool:
        """Whether it was fed as a whole."""

    @property
    def rest(self) -> bytes:
        """What followed the member's end in the bytes fed last."""

    def feed(self, data: bytes, room: int) -> Iterator[bytes]:
        """All that the bytes decode to, in pieces; not to be continued once they are more than `room` bytes.

        Before `ended` only, and each call to its end. Raises one of CORRUPT.
        """


class _Deflated:
    """A gzip member, or deflate."""

    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.decompressobj(window_bits)

    @property
    def ended(self) -> bool:
        return self._stream.eof

    @property
    def rest(self) -> bytes:
        return self._stream.unused_data

    def feed(self, data: bytes, room: int) -> Iterator[bytes]:  # noqa: ARG002  # each piece is small
        piece = self._stream.decompress(data, PIECE)
        yield piece
        while len(piece) == PIECE:
            piece = self._stream.decompress(self._stream.unconsumed_tail, PIECE)
            yield piece


class _Brotli:
    """A brotli stream. Bytes after its end make the library fail."""

    rest = b""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    @property
    def ended(self) -> bool:
        return bool(self._stream.is_finished())

    def feed(self, data: bytes, room: int) -> Iterator[bytes]:  # noqa: ARG002  # each piece is small
        piece = self._stream.process(data, output_buffer_limit=PIECE)
        yield piece
        # The library can hold back a window's worth, and only an empty answer tells that nothing is left.
        while piece and not self.ended:
            piece = self._stream.process(b"", output_buffer_limit=PIECE)
            yield piece


class _Frame:
    """A zstd frame. The library bounds no output, so the input is cut to what cannot pass the room by much."""

    def __init__(self, context: ZstdDecompressor) -> None:
        self._frame = context.decompressobj()
        self.rest = b""

    @property
    def ended(self) -> bool:
        return self._frame.eof

    def feed(self, data: bytes, room: int) -> Iterator[bytes]:
        at = 0
        while at < len(data) and not self.ended:
            step = (min(room, GULP) + MARGIN) // BLOCK * DENSEST
            piece = self._frame.decompress(data[at : at + step])
            at += step
            if piece:  # a hostile frame has many blocks of nothing
                room -= len(piece)
                yield piece
        self.rest = self._frame.unused_data + data[at:]


class Salvage(Member):
    """A member decoded twice, the second time one call behind, so that all comes that was said before a fault.

    What a library decodes in the call that meets a fault it throws away, and some cannot be copied before it: how much
    that is would depend on how the bytes were cut.
    """

    def __init__(self, ahead: Member, behind: Member) -> None:
        self._ahead, self._behind = ahead, behind
        self._fed = b""  # to the one ahead alone

    @property
    @override
    def ended(self) -> bool:
        return self._ahead.ended

    @property
    @override
    def rest(self) -> bytes:
        return self._ahead.rest

    @override
    def feed(self, data: bytes, room: int) -> Iterator[bytes]:
        if self._fed:
            yield from (b"" for _ in self._behind.feed(self._fed, room))
        self._fed, given = data, 0
        try:
            for piece in self._ahead.feed(data, room):
                yield piece
                given += len(piece)
        except CORRUPT:
            yield from self._up_to_the_fault(data, room, given)
            raise

    def _up_to_the_fault(self, data: bytes, room: int, given: int) -> Iterator[bytes]:
        pieces = chain.from_iterable(self._behind.feed(data[at : at + 1], room) for at in range(len(data)))
        with suppress(StopIteration, *CORRUPT):
            while True:
                piece = next(pieces)
                yield piece[given:]
                given = max(0, given - len(piece))


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How one body's members are told and decoded."""

    begin: Callable[[int], Member]  # a member whose first byte this is
    again: tuple[bytes, ...] = ()  # the beginnings of a further one
    lenient: bool = True  # what follows the end is ignored, not an error


def _gzip() -> Coding:
    return Coding(begin=lambda _: _Deflated(zlib.MAX_WBITS | 16), again=(b"\x1f\x8b",))


def _deflate() -> Coding:
    """Zlib's format (RFC 1950), or bare deflate, which servers have always sent too.

    No encoder begins bare deflate as zlib's format begins: it would be a stored block with padding other than zero.
    """
    return Coding(begin=lambda byte: _Deflated(zlib.MAX_WBITS if byte & 0x8F == ZLIB else -zlib.MAX_WBITS))


def _brotli() -> Coding:
    return Coding(begin=lambda _: _Brotli(), lenient=False)


def _zstd() -> Coding:
    context = ZstdDecompressor(max_window_size=WINDOW)  # costly to make, and one frame after the other can use it
    skippable = tuple(bytes([byte]) + b"\x2a\x4d\x18" for byte in range(0x50, 0x60))
    return Coding(begin=lambda _: _Frame(context), again=(b"\x28\xb5\x2f\xfd", *skippable))


CODINGS: Final[Mapping[str, Callable[[], Coding]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
"""By the name that RFC 9110, section 8.4.1, and IANA give them; made anew for each body."""
