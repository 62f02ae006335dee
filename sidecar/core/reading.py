"""Reading along with a response: bytes in, an `Answer` told of what they say.

    chunk ─▶ content decoder ─▶ a 2xx body is sniffed once: events are split ─▶ unread ─▶ Answer.event
                                                            JSON is gathered ──────────▶ Answer.document, at its end
                               any other status: its beginning is gathered ────────────▶ Answer.told

Bytes are taken in and framed at once; events are read when somebody asks (`read`): after their chunk was let go, unless
one of them may be the response's last (`may_have_ended`), or the chunk is long (`feeding`).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Protocol

from msgspec.structs import replace
from typing_extensions import override

from sidecar.core.content import Decoder
from sidecar.core.events import Headers
from sidecar.core.policy import Bounds
from sidecar.core.records import Answered, ErrorType, Failure, Record
from sidecar.core.responses import Answer, deltas, may_end, tells
from sidecar.core.sse import SLICE, Splitter

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_ERROR_BYTES = 65_536  # of an error document; the API's are far smaller
UNREAD = Failure(type=ErrorType.UNREAD, message="the response could not be decoded within its bounds")
_NO_EVENTS = Failure(type=ErrorType.UNREAD, message="the response is neither JSON nor server-sent events")
_NO_END = Failure(type=ErrorType.DISCONNECTED, message="the response ended before its terminal event")
_SNIFFED_BYTES = 65_536  # of white space before the first character
# Of a stream: lines, at less than a microsecond each, and events that are decoded, at ten. Compressed, one chunk could
# hold millions. A hundred thousand deltas are 300,000 lines, of many more than 16 bytes on average.
_MAX_LINES = 1_000_000
_SHORT_LINES = 50_000
_SHORT = 16
_MAX_EVENTS = 5_000
_PART = 1 << 20  # bytes taken in or read at once, after which others have their turn: some 10 ms
_MANY = 32_768  # bytes of a chunk in which more events may come to an end than are read at once
_FEW = 262_144
_LEAST = 4096  # as many at least for each piece and more for each event, since one without any costs time, too
_SUCCESS = range(200, 300)
_FAILED = {
    **dict.fromkeys((400, 404, 413, 422), ErrorType.BAD_REQUEST),
    **dict.fromkeys((401, 403), ErrorType.UNAUTHORIZED),
    **dict.fromkeys((408, 504), ErrorType.TIMEOUT),
    429: ErrorType.RATE_LIMITED,
    503: ErrorType.OVERLOADED,
}


class Unread:
    """Nothing to read: no response yet, none of the provider's, or one given up for what then is its `failure`.

    `given_up`: by its id, if that was read before.
    """

    def __init__(self, failure: Failure | None = None, *, given_up: str = "") -> None:
        self._failure = failure
        self._given_up = given_up

    @property
    def id(self) -> str:
        """The response's id, as far as it is known."""
        return self._given_up

    def skims(self, _: bytes) -> bool:
        """Whether the next bytes of the body tell nothing and may end nothing; only then they have been taken in."""
        return False

    @property
    def held(self) -> int:
        """How many bytes are kept of the body; 0 while they are few."""
        return 0

    def is_long(self, _: bytes) -> bool:
        """Whether the next bytes of the body may take long: a few may decode to very much."""
        return False

    def feed(self, data: bytes, at: float) -> None:
        """Take in the next bytes of the body, which came at `at`."""

    def feeding(self, data: bytes, at: float, *, is_last: bool = False) -> Iterator[None]:  # noqa: ARG002 - there is nothing to do
        """Do as `feed` does, with a pause wherever that takes long. `is_last`: nothing follows, so that all is read."""
        return iter(())

    def may_have_ended(self) -> bool:
        """Whether the body is whole by its content-length, or its last event was read, or may be among the unread."""
        return False

    def has_ended(self) -> bool:
        """Whether the answer is whole, as far as it was read."""
        return False

    def read(self) -> None:
        """Read the events taken in."""

    def close(self, _: float, cut: Failure | None = None) -> Failure | None:
        """Return what went wrong, once nothing more comes. `cut`: why the body did not reach its end, if it did not."""
        return self._failure or cut

    def records(self) -> Iterable[Record]:
        """What was found, in the response's order, under its id."""
        return ()

    def answered(self) -> Answered:
        """What the response says of itself."""
        return Answered(response=self.id)


class Reading(Unread):
    """A response of the provider's, read along with."""

    def __init__(self, headers: Headers, answer: Answer, bounds: Bounds) -> None:
        super().__init__()
        self._answer = answer
        self._status = headers.count(":status")
        self._bounds = bounds
        self._decoder = Decoder(",".join(headers.all("content-encoding")) or None, bounds.response_bytes)
        self._left = headers.count("content-length")
        self._is_packed = not self._decoder.plain
        # What has a length has to be counted, what is encoded decoded first.
        self._may_skim = self._left is None and not self._is_packed
        self._taken = 0  # bytes, decoded
        self._head = b""
        self._format = self._labelled(headers.first("content-type") or "")

    @property
    @override
    def id(self) -> str:
        return self._answer.id

    @override
    def skims(self, data: bytes) -> bool:
        size, decoder = len(data), self._decoder
        if not self._may_skim or self._format is None or size > decoder.room or not self._format.skims(data):
            return False
        decoder.room -= size
        return True

    @property
    @override
    def held(self) -> int:
        if self._taken <= _FEW or self._format is None:
            return 0
        return self._answer.held + self._format.held

    @override
    def is_long(self, data: bytes) -> bool:
        return self._is_packed or len(data) > _MANY or (self._taken > _FEW and self.held > _FEW)

    @override
    def feed(self, data: bytes, at: float) -> None:
        if self.is_long(data):
            for _ in self.feeding(data, at):
                pass
        elif self._is_wanted(data):
            self._take(self._decoder.feed(data), at)

    @override
    def feeding(self, data: bytes, at: float, *, is_last: bool = False) -> Iterator[None]:
        if not self._is_wanted(data):
            return
        done = 0
        for part in self._parts(data):
            if done >= _PART:
                yield from self._reading()
                yield
                done = 0
            if self._answer.ended:
                return
            self._take(part, at)
            done += max(len(part), _LEAST)
        if self._format is None:
            return
        is_whole = is_last or self._left == 0
        if is_whole or self._format.may_end() or self._format.unread > _PART:
            yield from self._reading()
        if is_whole and not self._decoder.failed:
            yield from self._format.finishing(self._answer, at)

    def _parts(self, data: bytes) -> Iterator[bytes]:
        for piece in self._decoder.pieces(data):
            for start in range(0, len(piece) or 1, _PART):
                yield piece[start : start + _PART]

    def _reading(self) -> Iterator[None]:
        return iter(()) if self._format is None else self._format.reading(self._answer)

    def _is_wanted(self, data: bytes) -> bool:
        if self._left is not None:
            self._left -= len(data)
        return not self._answer.ended

    def _take(self, plain: bytes, at: float) -> None:
        self._taken += len(plain)
        if self._format is None:
            self._head += plain
            plain, self._format = self._head, self._sniffed()
            self._head = self._head if self._format is None else b""
        if self._format is not None:
            self._format.feed(plain, at)

    @override
    def may_have_ended(self) -> bool:
        return self._left == 0 or self._answer.ended or (self._format is not None and self._format.may_end())

    @override
    def has_ended(self) -> bool:
        return self._left == 0 or self._answer.ended

    @override
    def read(self) -> None:
        if self._format is not None and self._format.unread:  # mostly there is nothing
            for _ in self._format.reading(self._answer):
                pass

    @override
    def close(self, at: float, cut: Failure | None = None) -> Failure | None:
        self.read()
        if self._answer.ended:
            return self._answer.failure
        if self._decoder.failed and self._status in _SUCCESS:
            return UNREAD
        if self._format is None:
            return cut or _NO_EVENTS
        return self._format.conclude(self._answer, at, cut)

    @override
    def records(self) -> Iterable[Record]:
        return self._answer.records()

    @override
    def answered(self) -> Answered:
        answered = self._answer.answered
        return answered if answered.response == self.id else replace(answered, response=self.id)

    def _labelled(self, content_type: str) -> "_Format | None":
        if self._status not in _SUCCESS:
            return _Refusal(self._status)
        is_events = content_type.lower().lstrip().startswith("text/event-stream")
        return _Events(self._bounds, of_nothing=_NO_END) if is_events else None

    def _sniffed(self) -> "_Format | None":
        """JSON by its first non-blank character, else server-sent events; None while there is none."""
        head = self._head[:_SNIFFED_BYTES]
        begun = head.removeprefix(_BOM).lstrip(_BLANK)
        if begun.startswith(b"{"):
            return _Document()
        is_undecided = not begun or (len(head) < len(_BOM) and _BOM.startswith(head))
        return None if is_undecided and len(head) < _SNIFFED_BYTES else _Events(self._bounds, of_nothing=_NO_EVENTS)


class _Format(Protocol):
    """A kind of body; unless it says otherwise one that tells nothing before its end."""

    unread: int = 0  # bytes of the events taken in and not read; of each some more than it has

    @property
    def held(self) -> int: ...
    def feed(self, data: bytes, at: float) -> None: ...
    def conclude(self, answer: Answer, at: float, cut: Failure | None) -> Failure | None: ...

    def skims(self, _: bytes) -> bool:
        return False

    def may_end(self) -> bool:
        return False

    def reading(self, _: Answer) -> Iterator[None]:
        """Read what was taken in, with a pause wherever that takes long."""
        return iter(())

    def finishing(self, _: Answer, __: float) -> Iterator[None]:
        """Read what can be read only in the end, likewise."""
        return iter(())


class _Events(_Format):
    """Server-sent events, split; those that tell something are kept until they are read.

    `of_nothing`: what is wrong where not one has come.
    """

    def __init__(self, bounds: Bounds, *, of_nothing: Failure) -> None:
        self._of_nothing = of_nothing
        self._splitter = Splitter(bounds.event_bytes)
        self._most = bounds.event_bytes
        self._events: deque[tuple[bytes, float]] = deque()  # unread
        self._may_end = False
        self._any = False
        self._too_many = False  # lines; once and for all: what was left out cannot be made up for
        self._bytes = self._lines = self._told = 0

    @property
    @override
    def held(self) -> int:
        return self._splitter.held

    @override
    def skims(self, data: bytes) -> bool:
        """Whether `data` is deltas alone, each whole, where an event may begin."""
        size = len(data)
        is_whole = self._splitter.between and size <= self._most and size < SLICE - self._bytes % SLICE
        if not is_whole or not deltas(data):
            return False
        self._bytes += size
        self._lines += data.count(b"\n")
        self._any = True
        return True

    @override
    def feed(self, data: bytes, at: float) -> None:
        start = 0
        while start < len(data) and not self._has_overflowed():
            # The stream's slices, not the chunk's: its lines are counted at the same places however it was cut.
            end = start + SLICE - self._bytes % SLICE
            self._split(data[start:end], at)
            start = end

    def _split(self, data: bytes, at: float) -> None:
        self._bytes += len(data)
        self._lines += data.count(b"\n") + data.count(b"\r")
        if self._bytes % SLICE == 0:
            self._too_many = self._lines > min(_MAX_LINES, _SHORT_LINES + self._bytes // _SHORT)
        for event in self._splitter.feed(data):
            self._any = True
            if tells(event) and self._told <= _MAX_EVENTS:
                self._told += 1
                self._events.append((event, at))
                self.unread += len(event) + _LEAST
                self._may_end |= may_end(event)

    def _has_overflowed(self) -> bool:
        return self._splitter.overflowed or self._too_many or self._told > _MAX_EVENTS

    @override
    def may_end(self) -> bool:
        return self._may_end

    @override
    def reading(self, answer: Answer) -> Iterator[None]:
        """Each event is kept until it was read, so that who stops at a pause loses none."""
        done = 0
        while self._events and not answer.ended:
            event, at = self._events[0]
            for _ in answer.reading_event(event, at):
                if len(event) > _FEW:
                    yield
            self._events.popleft()
            self.unread -= len(event) + _LEAST
            done += len(event) + _LEAST
            if done >= _PART:
                yield
                done = 0
        self._events.clear()
        self.unread, self._may_end = 0, False

    @override
    def conclude(self, answer: Answer, _: float, cut: Failure | None) -> Failure:
        if self._has_overflowed():
            return UNREAD
        return answer.failure or cut or (_NO_END if self._any else self._of_nothing)


class _Document(_Format):
    """A JSON document, gathered until its end."""

    def __init__(self) -> None:
        self._text = BytesIO()  # it gives away what it holds without a copy
        self._is_read = False

    @property
    @override
    def held(self) -> int:
        return self._text.tell()

    @override
    def feed(self, data: bytes, _: float) -> None:
        self._text.write(data)

    @override
    def finishing(self, answer: Answer, at: float) -> Iterator[None]:
        yield from answer.reading_document(self._text.getvalue(), at)
        self._is_read = True

    @override
    def conclude(self, answer: Answer, at: float, cut: Failure | None) -> Failure | None:
        if not self._is_read:
            answer.document(self._text.getvalue(), at)
        return answer.failure if answer.ended or cut is None else cut


class _Refusal(_Format):
    """An answer other than 2xx: failed, whatever it says."""

    def __init__(self, status: int | None) -> None:
        self._status = status
        self._head = b""

    @property
    @override
    def held(self) -> int:
        return len(self._head)

    @override
    def feed(self, data: bytes, _: float) -> None:
        self._head += data[: _ERROR_BYTES - len(self._head)]

    @override
    def conclude(self, answer: Answer, _: float, __: Failure | None) -> Failure:
        status = self._status or 0
        kind = _FAILED.get(status, ErrorType.SERVER_ERROR if status in range(500, 600) else ErrorType.UNKNOWN)
        return Failure(type=kind, message=f"the provider answered {status}{answer.told(self._head)}")
