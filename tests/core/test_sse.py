import importlib
import re
import sys
import tracemalloc
from types import ModuleType

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.sse import SLICE, Splitter
from tests.core.play import cut, one_by_one

LIMIT = 1 << 20
MARK = b"\xef\xbb\xbf"

# What a stream is made of, so that a short one meets many cases.
PIECES = st.sampled_from(
    (
        *(
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"data: a\n\n",
            b"event: x\ndata: {}\n\n",
            b"data\n",
            b"data:\n",
            b"data:  b\n",
        ),
        *(b"data", b": ", b":", b" ", b"x", b"database: 1\n", b" data: 1\n", b"id: 7\n", b"retry: 1\n", b": ping\n\n"),
        *(
            b"data: [DONE]\n\n",
            "data: \u2028\u2029\u0085é\n\n".encode(),
            MARK,
            b"\xef",
            b"\xff",
            b"\0",
            b"\x0b\x0c\x1c",
        ),
    )
)
STREAMS = st.lists(PIECES, max_size=30).map(b"".join)


def split(*chunks: bytes, limit: int = LIMIT) -> list[bytes]:
    splitter = Splitter(limit)
    return [event for chunk in chunks for event in splitter.feed(chunk)]


def reference(stream: bytes) -> list[bytes]:
    """The standard's text, sentence by sentence, over a whole stream."""
    events, buffer = [], b""
    *lines, _ = re.split(rb"\r\n|\n|\r", stream.removeprefix(MARK))
    for line in lines:
        name, _, value = line.partition(b":")
        if not line:
            events += [buffer[:-1]] if buffer else []
            buffer = b""
        elif name == b"data":
            buffer += value.removeprefix(b" ") + b"\n"
    return events


@pytest.fixture(scope="module")
def httpx_sse() -> ModuleType:
    """The package asks for httpx, of which it needs the names alone; its successor, which openai brings, has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "httpx", httpx2)
        return importlib.import_module("httpx_sse")


def test_an_event_is_its_data() -> None:
    """The type stands in the JSON; the line before it is not asked."""
    assert split(b'event: response.created\ndata: {"type":"response.created"}\n\n') == [b'{"type":"response.created"}']


def test_events_come_in_order_and_as_soon_as_they_are_whole() -> None:
    splitter = Splitter(LIMIT)
    assert splitter.feed(b"data: 1\n\ndata: 2\n\nda") == [b"1", b"2"]
    assert splitter.feed(b"ta: 3\n") == []
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\n") == [b"3"]


def test_several_data_lines_are_joined() -> None:
    assert split(b"data: {\ndata:\ndata\nevent: x\ndata: }\n\n") == [b"{\n\n\n}"]


def test_one_space_after_the_colon_is_dropped() -> None:
    assert split(b"data:a\n\ndata: a\n\ndata:  a\n\ndata:\ta\n\n") == [b"a", b"a", b" a", b"\ta"]


def test_a_field_without_colon_has_an_empty_value() -> None:
    """The standard's own example: an empty event, then one of two empty lines, then one that is cut off."""
    assert split(b"data\n\ndata\ndata\n\ndata:") == [b"", b"\n"]


def test_other_fields_and_comments_are_no_data() -> None:
    stream = b": ping\n\nevent: x\nid: 1\nretry: 9\n\ndatabase: 1\nDATA: 1\n data: 1\ndata : 1\n\n:data: 1\n\n"
    assert split(stream) == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_may_end_in_three_ways(end: bytes) -> None:
    """Also when CR and LF come apart, where an LF must not count for a second, blank line."""
    stream = end.join((b"data: 1", b"data: 2", b"", b"data: 3", b"", b""))
    assert split(stream) == [b"1\n2", b"3"]
    assert split(*one_by_one(stream)) == [b"1\n2", b"3"]


def test_an_event_ended_by_cr_does_not_wait_for_more() -> None:
    splitter = Splitter(LIMIT)
    assert splitter.feed(b"data: 1\r\r") == [b"1"]
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\ndata: 2\r\n\r\n") == [b"2"]


def test_nothing_else_ends_a_line() -> None:
    """JSON strings may hold these raw."""
    value = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\0h".encode()
    assert split(b"data: " + value + b"\n\n") == [value]


def test_one_byte_order_mark_is_dropped_however_it_comes() -> None:
    stream = MARK + b"data: 1\n\n"
    assert split(stream) == [b"1"]
    assert split(*one_by_one(stream)) == [b"1"]
    assert split(MARK + stream) == []
    assert split(b"data: 0\n\n" + stream) == [b"0"]
    assert split(b"\xef\xbbdata: 1\n\n") == []


def test_an_event_cut_off_by_the_end_is_not_dispatched() -> None:
    assert split(b"data: 1\n\ndata: 2\n") == [b"1"]
    assert split(b"data: 1\n\ndata: 2") == [b"1"]


def test_the_end_marker_is_data() -> None:
    assert split(b"data: [DONE]\n\n") == [b"[DONE]"]


@given(stream=STREAMS, places=st.lists(st.integers(0, 1000), max_size=20))
def test_any_cut_gives_the_standards_events(stream: bytes, places: list[int]) -> None:
    expected = reference(stream)
    assert split(stream) == expected
    assert split(*cut(stream, places)) == expected
    assert split(*one_by_one(stream)) == expected


@given(stream=STREAMS, places=st.lists(st.integers(0, 1000), max_size=20), limit=st.integers(0, 40))
def test_any_cut_overflows_at_the_same_event(stream: bytes, places: list[int], limit: int) -> None:
    whole, other = Splitter(limit), Splitter(limit)
    events = whole.feed(stream)
    assert [event for chunk in cut(stream, places) for event in other.feed(chunk)] == events
    assert other.overflowed == whole.overflowed


@given(stream=STREAMS)
def test_httpx_sse_reads_the_same_events(httpx_sse: ModuleType, stream: bytes) -> None:
    """It works on text, knows no byte order mark, and dispatches events without data, which look like empty ones."""
    text = stream.replace(MARK, b"").decode("utf-8", "replace")
    lines, events = httpx_sse._decoders.SSELineDecoder(), httpx_sse._decoders.SSEDecoder()  # noqa: SLF001  # by text
    theirs = [events.decode(line) for line in (lines.decode(text) if text else []) + lines.flush()]
    ours = [event.decode() for event in split(text.encode())]
    assert [event for event in ours if event] == [event.data for event in theirs if event and event.data]


def test_large_chunks_are_cut_at_any_byte() -> None:
    """Chunks beyond a slice are worked through in slices, whose ends fall anywhere."""
    for shift in range(12):
        stream = b":" * shift + b"\r\n" + b"data: 12\r\n\r\n" * (SLICE // 4)
        assert split(stream) == [b"12"] * (SLICE // 4)


def test_an_event_may_be_as_large_as_the_limit() -> None:
    """Its line counts with the field's name."""
    assert split(b"data: 3456\n\n" * 2, limit=10) == [b"3456", b"3456"]
    assert split(b"data: 34567\n\n", limit=10) == []
    assert split(b"data: 1\ndata: 34\n\n", limit=10) == [b"1\n34"]
    assert split(b"data: 1\ndata: 345\n\n", limit=10) == []


@pytest.mark.parametrize(
    "excess",
    [b"data: 34567\n\n", b"data: 34567", b":2345678901\n", b":2345678901", b"data: 1\ndata: 345", b"data\n" * 8],
)
def test_beyond_the_limit_nothing_is_guessed(excess: bytes) -> None:
    splitter = Splitter(10)
    assert splitter.feed(b"data: 0\n\n" + excess) == [b"0"]
    assert splitter.overflowed
    assert splitter.feed(b"\n\ndata: 1\n\n") == []
    assert splitter.feed(b"data: 1\n\n" * SLICE) == []


def test_a_stream_without_line_ends_costs_no_more_than_the_limit() -> None:
    splitter = Splitter(LIMIT)
    chunk = b"x" * 1000
    tracemalloc.start()
    for _ in range(10_000):
        splitter.feed(chunk)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert splitter.overflowed
    assert held < 100_000
    assert peak < 2 * LIMIT


def test_an_event_of_many_lines_costs_no_more_than_the_limit() -> None:
    """Two bytes a line, each of which would cost fifty as an object of its own."""
    limit = 1 << 17
    splitter = Splitter(limit)
    chunk = b"data: ab\n" * 100
    tracemalloc.start()
    while not splitter.overflowed:
        splitter.feed(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * limit
