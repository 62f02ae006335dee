"""Bodies that nobody sends but to do harm, and bytes of any kind: what they cost, and that they change nothing.

Times are never compared with a clock, only with what the standard library's parser, which builds everything, needs at
the same time for a plain body as long: some 40 ms for 4 MiB.
"""

import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import requests
from sidecar.core.events import Body, Event, Headers, Recorded, Side, Trailers
from sidecar.core.interception import Interception
from sidecar.core.masks import Masks
from sidecar.core.phases import Phase
from sidecar.core.policy import Bounds
from sidecar.core.privacy import Gate
from sidecar.core.reading import Reading
from sidecar.core.records import Ended, Forwarded, Started
from sidecar.core.replies import Ack, Echo, Forward, Step
from sidecar.core.responses import Answer
from tests.core.play import CODINGS, ID, POLICY, cut

SIZE = 4 << 20
LONG = 32 << 20
# As long as the parser takes; the worst a third, on a machine that has nothing else to do. To measure coverage makes a
# line of Python ten times slower.
TIMES = 8 if sys.gettrace() is None else 80
# As long may nobody else have a turn while a long body is read; the worst a quarter. The parser's must be as long:
# memory for copies of it is asked for anew each time, at many times the cost on one machine as on another.
STEP_TIMES = 2 if sys.gettrace() is None else 20
MUCH = 24  # bytes for each; invalid ones become three while they are mended, and most bodies take two to four


def filled(head: bytes, piece: bytes, tail: bytes, size: int = SIZE) -> bytes:
    return head + piece * ((size - len(head) - len(tail)) // len(piece)) + tail


def steps(work: Iterator[object]) -> Iterator[float]:
    """What each costs."""
    begun = time.process_time()
    for _ in work:
        yield time.process_time() - begun
        begun = time.process_time()
    yield time.process_time() - begun


def longest(work: Callable[[], Iterator[object]]) -> float:
    """What the longest step costs, in the best of three attempts."""
    return min(max(steps(work())) for _ in range(3))


def cpu(work: Callable[[], object]) -> float:
    return longest(lambda: (work() for _ in range(1)))


def parsed(size: int) -> float:
    """What a parser of everything needs."""
    message = b'{"role":"user","content":"hello, this is a plain text, and so on, and so on"},'
    body = filled(b'{"model":"m","input":[', message, b"0]}", size)
    return cpu(lambda: json.loads(body))


@pytest.fixture
def plain() -> float:
    return parsed(SIZE)


@pytest.fixture
def plain_and_long() -> float:
    return parsed(LONG)


# Requests

REQUESTS = {
    "one text": (b'{"input":"', b"x", b'"}'),
    "two bytes a letter": (b'{"input":"', "é".encode(), b'"}'),
    "broken at its end": (b'{"input":"', "é".encode(), b'\xff"}'),
    "commas in a text": (b'{"input":"', b",", b'"}'),
    "commas and quotes": (b'{"input":"', rb"\",\\", b'"}'),
    "backslashes": (b'{"input":"', rb"\\", b'"}'),
    "backslashes and a surrogate": (rb'{"input":"\ud800', rb"\\", b'"}'),
    "escapes": (b'{"input":"', rb"\u0041", b'"}'),
    "surrogates": (b'{"input":"', rb"\ud800", b'"}'),
    "one surrogate": (rb'{"input":"\ud800', b"x", b'"}'),
    "one surrogate in the end": (b'{"input":"', b"x", rb'\ud800"}'),
    "escapes and a surrogate": (rb'{"input":"\ud800', rb"\u0041", b'"}'),
    "pairs": (rb'{"input":"\ud800', rb"\ud83d\ude00", b'"}'),
    "parted pairs": (rb'{"input":"\ud800', rb"\ud83d\ude00x", b'"}'),
    "what is nearly a surrogate": (rb'{"input":"\ud800', rb"\\ud8", b'"}'),
    "escaped surrogates": (rb'{"input":"\ud800', rb"\\ud800", b'"}'),
    "numbers": (b'{"input":[', b"0,", b"0]}"),
    "objects": (b'{"input":[', b"{},", b"0]}"),
    "texts": (b'{"input":[', b'"",', b"0]}"),
    "texts without an end": (b'{"input":["', b'","', b""),
    "members": (b"{", b'"":0,', b'"":0}'),
    "members of an item": (b'{"input":[{', b'"":0,', b'"":0}]}'),
    "members of items": (b'{"input":[', b'{"role":"system",%s"":0},' % (b'"":0,' * 800), b'{"role":"system"}]}'),
    "items to be skipped": (b'{"input":[', b'{"role":"system"},', b"{}]}"),
    "parts": (b'{"input":[{"role":"user","content":[', b'{"type":"input_text","text":""},', b"0]}]}"),
    "depth": (b'{"input":', b"[", b"0"),
    "many depths": (b'{"input":[', b"[" * 400 + b"]" * 400 + b",", b"0]}"),
    "digits": (b'{"stream":', b"9", b"}"),
    "zeros": (b'{"background":0.', b"0", b"1}"),
    "an exponent": (b'{"background":0e', b"9", b"}"),
    "a model": (b'{"model":[', b"1,", b"1]}"),
    "a user's id": (b'{"metadata":{"user_id":{', b'"":0,', b'"":0}}}'),
    "white space": (b'{"input":', b" ", b"0}"),
}


def asked(body: bytes) -> requests.Request | None:
    try:
        return requests.read(body, 1000)
    except requests.Unreadable:
        return None


@pytest.mark.parametrize("kind", REQUESTS)
def test_no_request_costs_more_than_a_parser_of_everything_would(kind: str, plain: float) -> None:
    body = filled(*REQUESTS[kind])
    assert cpu(lambda: asked(body)) < TIMES * plain


@pytest.mark.parametrize(
    "kind",
    ["one surrogate", "one surrogate in the end", "escapes and a surrogate", "backslashes and a surrogate"],
)
def test_one_odd_character_makes_a_request_little_dearer_however_long_it_is(kind: str, plain_and_long: float) -> None:
    body = filled(*REQUESTS[kind], LONG)
    assert cpu(lambda: asked(body)) < TIMES / 2 * plain_and_long


@pytest.mark.parametrize("kind", REQUESTS)
def test_no_request_takes_many_times_its_size(kind: str) -> None:
    """Where a list of everything in it would take fifty times as much."""
    body = filled(*REQUESTS[kind])
    assert peak(lambda: asked(body)) < MUCH * SIZE


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Responses

END = b'data: {"type":"response.completed","response":{"id":"resp_1","output":[]}}\n\n'
CALL = b'{"type":"function_call","name":"f","arguments":"{}"}'
ITEM_DONE = b'data: {"type":"response.output_item.done","item":%s}\n\n'
RESPONSES = {
    "line feeds": (b"", b"\n", END),
    "carriage returns": (b"", b"\r", END),
    "both": (b"", b"\r\n", END),
    "comments": (b"", b":\n", END),
    "lines just long enough": (b"", b":234567890123456\n", END),
    "one line": (b"data: ", b"x", b""),
    "lines of one event": (b"", b"data: 0123456789\n", b"\n"),
    "events of nothing": (b"", b"data: 0123456789012345678\n\n", END),
    "events that may tell": (b"", b'data: {"x":"yyyyyyyyyyyyyy","type":"response.y"}\n\n', END),
    "events that may hide": (b"", rb'data: {"a":"\u0061\u0061"}' + b"\n\n", END),
    "events that tell": (b"", b'data: {"type":"error","code":"x"}\n\n', END),
    "items": (b"", ITEM_DONE % CALL, END),
    "odd items": (b"", ITEM_DONE % (rb'{"type":"function_call","id":"\udc00","arguments":"\"\\ud800\"","x":NaN}'), END),
    "an odd event": (rb'data: {"type":"error","code":"\ud800', b"x", b'"}\n\n'),
    "long items": (b"", ITEM_DONE % b'{"type":"function_call","arguments":"[%s0]"}' % (b"0," * 1000), END),
    "an event's items": (b'data: {"type":"response.completed","response":{"output":[', CALL + b",", b"0]}}\n\n"),
    "a document's items": (b'{"output":[', CALL + b",", b"0]}"),
    "a document's parts": (b'{"output":[{"type":"reasoning","summary":[', b'{"text":"%s"},' % (b"x" * 700), b"0]}]}"),
    "a document's members": (b"{", b'"":0,', b'"":0}'),
    "members of its usage": (b'{"usage":{', b'"":0,', b'"":0}}'),
    "arguments": (b'{"output":[{"type":"function_call","arguments":"[', b"{},", b'0]"}]}'),
    "surrogates in arguments": (
        rb'{"output":[{"type":"function_call","arguments":"[\"',
        rb"\\ud800" + b"x" * 300,
        rb'\"]"}]}',
    ),
    "a surrogate in arguments": (rb'{"output":[{"type":"function_call","arguments":"\"\\ud800', b"x", rb'\""}]}'),
    "odd bytes": (b'{"id":"', b"\xff", b'"}'),
    "odd bytes and constants": (b'{"id":"\xff', b"NaN" + b"x" * 300, b'"}'),
    "one constant": (b'{"x":NaN,"id":"', b"x", b'"}'),
    "what is nearly a constant": (b'{"x":NaN,"id":"', b"NaInfinit", b'"}'),
    "backslashes and a constant": (b'{"id":"', rb"\\", b'","x":NaN}'),
    "quotes and a constant": (b'{"id":"', rb"\"", b'","x":NaN}'),
    "constants": (b'{"output":[', b"NaN,", b"0]}"),
    "surrogates": (b'{"id":"', rb"\ud800", b'"}'),
    "one surrogate": (rb'{"id":"\ud800', b"x", b'"}'),
    "backslashes and a surrogate": (rb'{"id":"\ud800', rb"\\", b'"}'),
    "pairs": (rb'{"id":"\ud800', rb"\ud83d\ude00", b'"}'),
    "depth": (b'{"output":', b"[", b"0"),
    "digits": (b'{"usage":{"input_tokens":', b"9", b"}}"),
    "white space": (b"", b" ", b"{}"),
}


def answering(body: bytes, chunk: int) -> Iterator[object]:
    """Read along as the server does, in steps between which others have their turn."""
    answer = Answer(interception=ID, recorded_bytes=1 << 20, is_credential="".__eq__)
    reading = Reading(Headers(side=Side.RESPONSE, at=0.0, pairs=((":status", "200"),)), answer, Bounds())
    for at in range(0, len(body), chunk):
        piece = body[at : at + chunk]
        if reading.is_long(piece):
            yield from reading.feeding(piece, 1.0, is_last=at + chunk >= len(body))
        else:
            reading.feed(piece, 1.0)
        yield
        reading.read()
        yield
    reading.close(1.0)
    yield list(reading.records())


def answered(body: bytes, chunk: int) -> list[object]:
    return list(answering(body, chunk))


@pytest.mark.parametrize("chunk", [1 << 14, SIZE])
@pytest.mark.parametrize("kind", RESPONSES)
def test_no_step_of_a_response_costs_more_than_a_parser_of_everything_would(
    kind: str, chunk: int, plain: float
) -> None:
    body = filled(*RESPONSES[kind])
    assert longest(lambda: answering(body, chunk)) < TIMES * plain


@pytest.mark.parametrize("kind", RESPONSES)
def test_however_many_steps_a_response_takes_they_cost_little_more(kind: str, plain: float) -> None:
    body = filled(*RESPONSES[kind])
    assert cpu(lambda: answered(body, 1 << 14)) < 4 * TIMES * plain


@pytest.mark.parametrize(
    "kind", ["one surrogate", "backslashes and a surrogate", "pairs", "what is nearly a constant", "white space"]
)
def test_however_long_a_response_is_no_step_is(kind: str, plain_and_long: float) -> None:
    body = filled(*RESPONSES[kind], LONG)
    assert longest(lambda: answering(body, 1 << 16)) < STEP_TIMES * plain_and_long


@pytest.mark.parametrize("kind", RESPONSES)
def test_no_response_takes_many_times_its_size(kind: str) -> None:
    body = filled(*RESPONSES[kind])
    assert peak(lambda: answered(body, 1 << 14)) < MUCH * SIZE


# What was found, before it is kept

MAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"
LINES = "\n".join(['{"a":"x\\ny"}'] * 4000)
FOUND = {
    "addresses": {"type": "reasoning", "summary": [{"text": "ab@cd.com " * 5000}] * 80},
    "escapes": {"type": "function_call", "arguments": json.dumps(["\n"] * 5000)},
    "JSON in JSON": {"type": "function_call", "arguments": json.dumps([json.dumps(["\n"] * 2000)] * 20)},
    "lines of JSON": {"type": "function_call", "arguments": json.dumps({"path": "a", "content": LINES})},
    "strings": {"type": "function_call", "arguments": json.dumps([""] * 90_000 + ["\n"])},
    "numbers": {"type": "function_call", "arguments": "[" + "1234567890," * 40_000 + r'"\n0"]'},
    "a long text": {"type": "custom_tool_call", "input": "x y z\n" * 100_000},
    "tiny tools": {"type": "function_call", "name": "f", "arguments": "{}"},
}


@pytest.mark.parametrize("kind", FOUND)
def test_to_mask_what_was_found_costs_no_more_than_a_parser_of_everything_would(kind: str, plain: float) -> None:
    item = json.dumps(FOUND[kind]).encode()
    body = b'{"output":[' + b",".join([item] * min(2000, SIZE // len(item))) + b"]}"
    *_, found = answering(body, SIZE)
    gate = Gate(masks=Masks(["sk-[A-Za-z0-9_-]{16,}", MAIL, r"\b[0-9]\b"]))
    assert isinstance(found, list)
    assert len(found) > 0
    assert cpu(lambda: gate(found)) < TIMES * plain


# Whole exchanges

ODD = st.binary(max_size=8) | st.sampled_from(
    [b'"', b"\\", b"{", b"]", b",", b"\n", b"\r", b"\n\n", b"\xff", rb"\ud800", b"NaN"]
)
BREAKS: st.SearchStrategy[list[tuple[int, bytes]]] = st.just([]) | st.lists(
    st.tuples(st.integers(0, 1000), ODD), max_size=2
)
CODING = st.sampled_from([*[None] * 4, *CODINGS, "x"])
ASKED = st.sampled_from(
    [
        b'{"model":"m","input":"hi","stream":true}',
        b'{"input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}],"metadata":{"user_id":"u"}}',
        b'{"background":true}',
    ]
)
ANSWERED = st.sampled_from(
    [
        b'{"id":"resp_1","usage":{"input_tokens":1},"output":[%s]}' % CALL,
        b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n' + ITEM_DONE % CALL + END,
        b'{"error":{"type":"x","code":"y"}}',
        b"<html>",
    ]
)


def encoded(body: bytes, coding: str | None) -> bytes:
    return bytes(CODINGS.get(coding, bytes)(body))


def broken(body: bytes, breaks: list[tuple[int, bytes]]) -> bytes:
    for place, odd in breaks:
        at = place % (len(body) + 1)
        body = body[:at] + odd + body[at:]
    return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one side says."""

    coding: str | None
    body: bytes
    places: list[int]
    trailers: bool

    def events(self, side: Side, *pairs: tuple[str, str], whole: bool) -> Iterator[Event]:
        """As Envoy tells it: in pieces, unless it gathers them itself."""
        coding = () if self.coding is None else (("content-encoding", self.coding),)
        yield Headers(side=side, at=1.0, pairs=(*pairs, *coding))
        *chunks, last = [self.body] if whole else cut(self.body, self.places)
        yield from (Body(side=side, at=2.0, data=chunk) for chunk in chunks)
        yield Body(side=side, at=2.0, data=last, end=not self.trailers)
        if self.trailers:
            yield Trailers(side=side, at=2.0)


def sides(bodies: st.SearchStrategy[bytes]) -> st.SearchStrategy[Said]:
    return st.builds(
        lambda body, coding, odd, places, trailers: Said(
            coding=coding, body=broken(encoded(body, coding), odd), places=places, trailers=trailers
        ),
        *(bodies, CODING, BREAKS, st.lists(st.integers(0, 1000), max_size=4), st.booleans()),
    )


PAIRS = ((":method", "POST"), (":path", "/openai/v1/responses"), ("x-forwarded-user", "alice"))


def exchanged(asking: Said, answering: Said, status: str, duplex: frozenset[Side]) -> Iterator[Step]:
    """All that an interception makes of it; nothing is answered where it is refused."""
    interception = Interception(id=ID, policy=POLICY, duplex=duplex)
    for event in asking.events(Side.REQUEST, *PAIRS, whole=Side.REQUEST not in duplex):
        yield interception.receive(event)
        if interception.phase is Phase.RECORDING:
            yield interception.receive(Recorded(at=3.0, durable=True))
    if interception.phase is Phase.FORWARDED:
        for event in answering.events(Side.RESPONSE, (":status", status), whole=False):
            yield interception.receive(event)
            interception.read()
    assert interception.close(9.0) == ()


@given(
    asking=sides(ASKED),
    answering=sides(ANSWERED),
    status=st.sampled_from(["200", "429", "x"]),
    duplex=st.frozensets(st.sampled_from(Side)),
)
def test_whatever_is_said_passes_as_it_came(
    asking: Said, answering: Said, status: str, duplex: frozenset[Side]
) -> None:
    """Nothing is raised. No byte is changed, nor given back to a proxy that kept it; a verdict holds none."""
    steps = list(exchanged(asking, answering, status, duplex))
    replies = [reply for step in steps for reply in step.replies]
    [verdict] = [reply for reply in replies if not isinstance(reply, Ack | Echo)]
    for side, said in ((Side.REQUEST, asking), (Side.RESPONSE, answering)):
        echoes = [reply for reply in replies if isinstance(reply, Echo) and reply.side is side]
        assert b"".join(echo.data for echo in echoes) == (
            said.body if side in duplex and isinstance(verdict, Forward) else b""
        )
    kinds = [type(record) for step in steps for record in step.records]
    assert kinds.count(Started) == kinds.count(Ended) <= 1
    assert kinds.count(Forwarded) == isinstance(verdict, Forward)
