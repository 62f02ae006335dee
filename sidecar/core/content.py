"""Content codings undone (RFC 9110, section 8.4), as the bytes come and within bounds.

    bytes ─▶ slices ─▶ the coding named last ─▶ … ─▶ the coding named first ─▶ decoded bytes

A coding is a row of members (gzip members, zstd frames), one after the other.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Final

from sidecar.core.codings import CODINGS, CORRUPT, Coding, Member, Salvage
from sidecar.core.errors import SidecarError

MAX_CODINGS: Final = 3
MAX_MEMBERS: Final = 16_384  # an empty one still costs microseconds
SLICE: Final = 4096  # small: what a member leaves of its slice is copied
_NO_CODINGS: Final = frozenset({"", "identity"})
# What servers say to keep others from compressing a stream; clients take it for nothing.
_ALSO_NONE: Final = _NO_CODINGS | {"none", "utf-8"}
BETWEEN: Final = 1 << 20  # by so much what is encoded twice may be larger in between than in the end


class Undecodable(SidecarError):
    """The sender's fault: an unknown coding, or corrupt data, or cut short, or more of it than there should be."""


class TooLarge(SidecarError):
    """The sender's fault: it decodes to more than the limit, or into too many members."""


class Decoder:
    """Undoes the codings of one body as it comes; never raises.

    `encoding` is the value of content-encoding, None where there is none; `limit` bounds the decoded bytes in total.
    A `lenient` one reads as clients do: of corrupt data all that was said before the fault, which costs as much again;
    and what names no coding is none.
    """

    __slots__ = ("_stages", "fault", "room")

    def __init__(self, encoding: str | None, limit: int, *, lenient: bool = True) -> None:
        self.fault: Undecodable | TooLarge | None = None  # why it failed
        self.room = limit  # bytes that may still come, decoded
        self._stages: list[_Stage] = []
        try:
            self._stages = _stages(encoding, limit, lenient=lenient)
        except Undecodable as fault:
            self.fault = fault.with_traceback(None)

    @property
    def failed(self) -> bool:
        """Whether nothing more will come: an unsupported coding, corrupt data, or more than the limit."""
        return self.fault is not None

    @property
    def plain(self) -> bool:
        """Whether nothing is encoded."""
        return self.fault is None and not self._stages

    @property
    def surplus(self) -> bool:
        """Whether bytes came after the end. They are not read, as clients do not read them."""
        return any(stage.surplus for stage in self._stages)

    def complete(self) -> bool:
        """Whether what came so far is a whole body; always, where nothing is encoded."""
        return not self.failed and all(stage.whole for stage in self._stages)

    def feed(self, data: bytes) -> bytes:
        """All that can be decoded so far and was not given yet; `data` itself where nothing is encoded.

        Up to the limit everything is given, then nothing.
        """
        if not self._stages:
            return self._bounded(data)
        found = BytesIO()  # it gives away what it holds without a copy
        for piece in self.pieces(data):
            found.write(piece)
        return found.getvalue()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `feed` gives, piece by piece, for none of which much is done; most of them may be empty."""
        if not self._stages:
            yield self._bounded(data)
            return
        try:
            yield from _through(self._stages, data)
        except (Undecodable, TooLarge) as fault:
            fault.__context__ = None
            # With its trace it would hold this decoder, which holds it: what was decoded would stay for long.
            self.fault = fault.with_traceback(None)
            self._stages = []

    def _bounded(self, data: bytes) -> bytes:
        """What is not encoded; nothing, where something failed."""
        if self.fault is not None:
            return b""
        self.room -= len(data)
        if self.room >= 0:
            return data
        self.fault = _too_large()
        return data[: self.room]  # by so much it is too long


def decoded(data: bytes, encoding: str | None, limit: int) -> bytes:
    """A whole body decoded: at most `limit` bytes of it.

    Raises TooLarge beyond it, Undecodable for an unknown coding and for what is corrupt, cut short or followed by more.
    """
    decoder = Decoder(encoding, limit, lenient=False)
    plain = decoder.feed(data)
    if decoder.fault is not None:
        raise type(decoder.fault)(*decoder.fault.args)  # not the same: this frame would hold it, and it this frame
    if decoder.surplus or not decoder.complete():
        msg = "body is cut short or followed by other bytes"
        raise Undecodable(msg)
    return plain


class _Stage:
    """One coding of a body, undone."""

    __slots__ = ("_again", "_coding", "_head", "_member", "_members", "_room", "surplus", "whole")

    def __init__(self, coding: Coding, again: Coding | None, room: int) -> None:
        self.whole = False  # what came so far is one member or several
        self.surplus = False
        self._coding = coding
        self._again = again  # the same, to salvage what comes before a fault
        self._room = room
        self._members = 0
        self._member: Member | None = None
        self._head = b""  # of a further member, too short to be told from other bytes

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What a slice decodes to; raises Undecodable and TooLarge."""
        while data and not self.surplus:
            if self._member is None:
                data = self._head + data
                self._member = self._begun(data)
            if self._member is None:
                return
            yield from self._bounded(_sound(self._member.feed(data, self._room)))
            data = self._member.rest
            if self._member.ended:
                self.whole, self._member = True, None

    def _begun(self, data: bytes) -> Member | None:
        """The member that these bytes begin; None if they are something else or too few to tell."""
        self._head = b""
        if not self._members or data.startswith(self._coding.again):
            self._members += 1
            if self._members > MAX_MEMBERS:
                raise _too_large()
            self.whole = False
            member = self._coding.begin(data[0])
            return Salvage(member, self._again.begin(data[0])) if self._again else member
        if any(start.startswith(data) for start in self._coding.again):
            self.whole, self._head = False, data
            return None
        if not self._coding.lenient:
            raise _corrupt()
        self.whole = self.surplus = True
        return None

    def _bounded(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield piece[: self._room]
            self._room -= len(piece)
            if self._room < 0:
                raise _too_large()


def _stages(encoding: str | None, limit: int, *, lenient: bool) -> list[_Stage]:
    if encoding is None:
        return []
    names = [name.strip(" \t").lower() for name in encoding.split(",")]
    nothing = _ALSO_NONE if lenient else _NO_CODINGS
    names = [name for name in names if name not in nothing]
    if len(names) > MAX_CODINGS or not CODINGS.keys() >= set(names):
        msg = "unsupported content-encoding"
        raise Undecodable(msg)

    rooms = [limit] + [limit + BETWEEN] * MAX_CODINGS
    return [
        _Stage(CODINGS[name](), CODINGS[name]() if lenient else None, room)
        for name, room in zip(names, rooms, strict=False)
    ][::-1]


def _through(stages: list[_Stage], data: bytes) -> Iterator[bytes]:
    """What `data` decodes to; something, if only b"", for each slice of it and of what it is in between."""
    if not stages:
        yield data
        return
    stage, *others = stages
    for at in range(0, len(data), SLICE):
        for piece in stage.feed(data[at : at + SLICE]):
            yield from _through(others, piece)
        yield b""


def _sound(pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    except CORRUPT:
        raise _corrupt() from None


def _corrupt() -> Undecodable:
    return Undecodable("body is not what its content-encoding says")


def _too_large() -> TooLarge:
    return TooLarge("body decodes to more than the limit")
