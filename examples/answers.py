"""What a provider is asked, and what it answers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise

from examples.events import Object, sse, text

Pairs = tuple[tuple[str, str], ...]
FRAMING = {"content-length", "transfer-encoding"}
PHRASES = {int(status): status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as it came: header names and values as sent (Latin-1). `complete` False: the client left amid it."""

    method: str
    target: str
    headers: Pairs = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    complete: bool = True

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def case(self) -> str:
        """Which answer is asked for: the header `x-case`; empty: none in particular."""
        return self.first("x-case") or ""

    def all(self, name: str) -> list[str]:
        """Every value under this name (lower-case), whatever case it was sent in."""
        return [value for key, value in self.headers if key.lower() == name]

    def first(self, name: str) -> str | None:
        """The first value under this name (lower-case)."""
        return next(iter(self.all(name)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back.

    `body` in bytes goes with a content-length, in pieces chunked, each a chunk of its own; where `headers` frame it
    themselves it goes as it stands. Trailers need chunks. `pace` is the seconds between two pieces, `hang` those before
    everything. At a position - -1: before the headers; n: after n pieces - it may `hold`, until it is released, and
    `die`, by closing the connection.
    """

    status: int = 200
    headers: Pairs = ()
    content_type: str = "application/json"
    body: bytes | tuple[bytes, ...] = b""
    trailers: Pairs = ()
    pace: float = 0.0
    hang: float = 0.0
    hold: int | None = None
    die: int | None = None

    def frames(self) -> Iterator[bytes]:
        """The head, the pieces and the end, as they go over the wire (RFC 9112)."""
        framed = any(name.lower() in FRAMING for name, _ in self.headers)
        chunked = not framed and not isinstance(self.body, bytes)
        pieces = (self.body,) if isinstance(self.body, bytes) else self.body
        length = (("content-length", str(sum(map(len, pieces)))),)
        framing = () if framed else (("transfer-encoding", "chunked"),) if chunked else length
        label = (("content-type", self.content_type),) if self.content_type else ()
        yield f"HTTP/1.1 {self.status} {PHRASES.get(self.status, '')}\r\n".encode() + _lines(
            (*label, *framing, *self.headers)
        )
        yield from (b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece for piece in pieces)
        yield b"0\r\n" + _lines(self.trailers) if chunked else b""


def json_answer(value: object, status: int = 200, headers: Pairs = ()) -> Answer:
    """`value` as JSON."""
    return Answer(status=status, headers=headers, body=text(value))


def stream_answer(events: Iterable[Object], headers: Pairs = (), pace: float = 0.0) -> Answer:
    """Server-sent events, each a piece of its own."""
    pieces = tuple(sse(event) for event in events)
    return Answer(content_type="text/event-stream; charset=utf-8", headers=headers, body=pieces, pace=pace)


def error_answer(status: int, message: str, kind: str, code: str | None = None, headers: Pairs = ()) -> Answer:
    """An error in OpenAI's shape (https://platform.openai.com/docs/guides/error-codes)."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return json_answer({"error": error}, status, headers)


def cut(data: bytes, places: Iterable[int]) -> tuple[bytes, ...]:
    """`data` in the pieces that cuts at `places` (offsets, in any order) leave; no piece is empty."""
    inner = {place for place in places if 0 < place < len(data)}
    return tuple(data[start:end] for start, end in pairwise(sorted({0, len(data)} | inner)))


def pieces(data: bytes, size: int) -> tuple[bytes, ...]:
    """`data` in pieces of `size` bytes."""
    return cut(data, range(0, len(data), size))


def _lines(pairs: Pairs) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("latin-1") + b"\r\n"
