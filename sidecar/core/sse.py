"""Server-sent events out of bytes, by the HTML standard's section 9.2.6 (interpreting an event stream).

    bytes ─▶ byte order mark off ─▶ CRLF, CR → LF ─▶ lines ─▶ `data` lines of one event ─▶ events

Each arrow works on a chunk at a time and keeps what the next chunk may still change: up to two bytes of a mark, whether
the last byte was a CR, the line without an end, the event without a blank line. No byte is looked at again.
"""

from typing import Final

MARK: Final = b"\xef\xbb\xbf"

# Cutting a chunk of short lines costs some twenty times its size; in slices of this many bytes that stays small.
SLICE: Final = 65_536


class Splitter:
    """Cuts one response into events, however the network cut it before.

    `max_event`, in bytes, bounds the line being read, its field's name included, together with the data that its event
    has so far; comments are lines too. A stream that passes it is `overflowed`: nothing is guessed from there on, and
    nothing is kept.
    """

    __slots__ = ("_first", "_limit", "_line", "_mark", "_more", "_return", "_room", "between", "overflowed")

    def __init__(self, max_event: int) -> None:
        self.overflowed = False
        self.between = False  # nothing is kept of what came: whole events would be told here as they are
        self._limit = self._room = max_event
        self._mark: bytes | None = b""  # what came of a byte order mark; None once that is settled
        self._return = False  # the last byte was a CR: an LF that follows belongs to it
        self._line = bytearray()  # without an end so far
        self._first: bytes | None = None  # the event's first `data` line: mostly its only one, and then never copied
        self._more = bytearray()  # the others, each after an LF

    @property
    def held(self) -> int:
        """How many bytes are kept."""
        return len(self._line) + len(self._first or b"") + len(self._more)

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that these bytes complete: its `data` lines joined by LF.

        An event that the stream's end cuts off never comes, nor does one without data. b"[DONE]" is data here.
        """
        if self.overflowed:
            return []
        if len(data) > SLICE:
            return [event for at in range(0, len(data), SLICE) for event in self.feed(data[at : at + SLICE])]
        if self._mark is not None:
            data = self._without_mark(self._mark + data)
        if self._return or b"\r" in data:
            data = self._with_line_feeds(data)
        lines = data.split(b"\n")
        rest = lines.pop()
        if self._line and lines:
            self._line += lines[0]
            lines[0] = bytes(self._line)
            self._line.clear()
        events = self._interpreted(lines)
        if rest and not self.overflowed:
            self._line += rest
            if len(self._line) > self._room:
                self._overflow()
        self.between = self._first is None and not self._line and self._mark is None and not self._return
        return events

    def _without_mark(self, head: bytes) -> bytes:
        if len(head) < len(MARK) and MARK.startswith(head):
            self._mark = head
            return b""
        self._mark = None
        return head.removeprefix(MARK)

    def _with_line_feeds(self, data: bytes) -> bytes:
        if not data:
            return data
        if self._return:
            data = data.removeprefix(b"\n")
        self._return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _interpreted(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if not line:
                if self._first is not None:
                    events.append(self._first + self._more if self._more else self._first)
                    self._forget()
            elif len(line) > self._room:
                self._overflow()
                break
            elif line.startswith(b"data"):
                self._take(line)
        return events

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name != b"data":
            return
        value = value.removeprefix(b" ")
        self._room -= len(value) + 1
        if self._first is None:
            self._first = value
        else:
            self._more += b"\n" + value

    def _forget(self) -> None:
        self._first = None
        self._room = self._limit
        if self._more:
            self._more = bytearray()

    def _overflow(self) -> None:
        self.overflowed = True
        self._line = bytearray()
        self._forget()
