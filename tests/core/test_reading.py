import gzip
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.core.events import Headers, Side
from sidecar.core.policy import Bounds
from sidecar.core.reading import UNREAD, Reading, Unread
from sidecar.core.records import ErrorType, Failure, Record, Thought, Tokens
from sidecar.core.responses import Answer
from tests.core.play import CODINGS, cut, one_by_one

EVENTS = ("content-type", "text/event-stream")
JSON = ("content-type", "application/json")
CREATED = b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
DELTA = b'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n'
COMPLETED = b'data: {"type":"response.completed","response":{"id":"resp_1","usage":{"output_tokens":2}}}\n\n'
THINKING = b'data: {"type":"response.output_item.done","item":{"type":"reasoning","summary":[{"text":"hm"}]}}\n\n'
ANSWER = b'{"id":"resp_1","usage":{"output_tokens":2}}'
TOKENS = Tokens(
    interception="i",
    at=1.0,
    msg_id="resp_1",
    input=0,
    output=2,
    cache_read=0,
    cache_write=0,
    extra={"input_cached": 0, "output_reasoning": 0, "total_tokens": 0},
    provider_model=None,
    service_tier=None,
)
THOUGHT = Thought(interception="i", at=1.0, msg_id="", source="reasoning_summary", text="hm")
NO_END = Failure(type=ErrorType.DISCONNECTED, message="the response ended before its terminal event")
NO_EVENTS = Failure(type=ErrorType.UNREAD, message="the response is neither JSON nor server-sent events")
NO_JSON = Failure(type=ErrorType.UNREAD, message="the response is no JSON object that can be read")
CUT = Failure(type=ErrorType.UNOBSERVED, message="nobody was looking")

# What a response is made of, so that a short one meets many cases.
PIECES = st.sampled_from(
    (
        *(CREATED, DELTA, COMPLETED, THINKING, ANSWER, b"\n", b"\r", b"\r\n", b" ", b"\t", b"{", b"}", b'"', b"\\"),
        *(b'data: {"type":"error","code":"odd"}\n\n', b'data: {"type":"response.failed"}\r\r', b"data: [DONE]\n\n"),
        *(b'data: {"n":1,"\\u0074ype":"response.completed","response":{"id":NaN}}\n\n', b"data:", b": x\n\n", b"["),
        *(b"\xef\xbb\xbf", b"\xef", b"\xff", b"\0", b"\x1f\x8b"),
        *(DELTA * 3, b"event: x\n" + DELTA, DELTA[:-1], DELTA[:20], DELTA[20:], DELTA.replace(b"\n", b"\r\n")),
    )
)
BODIES = st.lists(PIECES, max_size=12).map(b"".join)


def reading(*pairs: tuple[str, str], status: str = "200", bounds: Bounds | None = None) -> Reading:
    headers = Headers(side=Side.RESPONSE, at=0.0, pairs=((":status", status), *pairs))
    answer = Answer(interception="i", recorded_bytes=100, is_credential="sk_secret".__eq__)
    return Reading(headers, answer, bounds or Bounds())


def fed(here: Reading, *chunks: bytes) -> Reading:
    """Read along as an interception does: at once where a chunk may hold the end."""
    for chunk in chunks:
        here.feed(chunk, 1.0)
        if here.may_have_ended():
            here.read()
            if here.has_ended():
                break
    return here


def concluded(here: Reading, cut_by: Failure | None = None) -> tuple[Failure | None, str, list[Record]]:
    return here.close(1.0, cut_by), here.id, list(here.records())


# What a body is


@pytest.mark.parametrize(
    ("label", "body"),
    [
        (EVENTS, CREATED + DELTA + COMPLETED),
        (("content-type", " Text/Event-Stream; charset=utf-8"), COMPLETED),
        (JSON, COMPLETED),
        (("x-none", ""), b"\n\n: ping\n\n" + COMPLETED),
        (JSON, ANSWER),
        (("content-type", "text/html"), ANSWER),
        (JSON, b"\xef\xbb\xbf \t\r\n" + ANSWER + b"\n"),
        (JSON, b" " * 65_535 + ANSWER),
    ],
)
def test_a_body_is_events_if_it_says_so_and_else_what_it_begins_with(label: tuple[str, str], body: bytes) -> None:
    """Labels lie: what clients accept is read here too."""
    assert concluded(fed(reading(label), body)) == (None, "resp_1", [TOKENS])
    assert concluded(fed(reading(label), *one_by_one(body[:4]), body[4:])) == (None, "resp_1", [TOKENS])


@pytest.mark.parametrize(
    ("label", "body", "failure"),
    [
        (EVENTS, b"", NO_END),
        (EVENTS, ANSWER, NO_END),
        (JSON, b"", NO_EVENTS),
        (JSON, b"\xef\xbb", NO_EVENTS),
        (JSON, b" " * 70_000, NO_EVENTS),
        (JSON, b" " * 65_536 + ANSWER, NO_EVENTS),
        (JSON, b"<html>", NO_EVENTS),
        (JSON, b"[]", NO_EVENTS),
        (JSON, b"data: 1\n\n", NO_END),
        (JSON, ANSWER[:-1], NO_JSON),
    ],
)
def test_what_is_neither_has_failed(label: tuple[str, str], body: bytes, failure: Failure) -> None:
    """And where something cut it short, that is the reason."""
    assert concluded(fed(reading(label), body)) == (failure, "", [])
    assert concluded(fed(reading(label), body), CUT) == (CUT, "", [])


def test_a_whole_document_is_complete_even_if_its_stream_was_cut() -> None:
    assert concluded(fed(reading(JSON), ANSWER), CUT) == (None, "resp_1", [TOKENS])


def test_events_before_a_cut_are_kept() -> None:
    here = fed(reading(EVENTS), CREATED, THINKING, COMPLETED[:-1])
    assert here.id == ""
    assert concluded(here, CUT) == (CUT, "resp_1", [replace(THOUGHT, msg_id="resp_1")])


def test_what_is_found_bears_the_time_of_its_chunk() -> None:
    """Not that of its reading, which may come later."""
    here = reading(EVENTS)
    here.feed(THINKING, 7.0)
    here.close(9.0)
    assert list(here.records()) == [replace(THOUGHT, at=7.0)]


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        ("400", ErrorType.BAD_REQUEST, "the provider answered 400 (odd)"),
        ("401", ErrorType.UNAUTHORIZED, "the provider answered 401 (odd)"),
        ("403", ErrorType.UNAUTHORIZED, "the provider answered 403 (odd)"),
        ("404", ErrorType.BAD_REQUEST, "the provider answered 404 (odd)"),
        ("408", ErrorType.TIMEOUT, "the provider answered 408 (odd)"),
        ("413", ErrorType.BAD_REQUEST, "the provider answered 413 (odd)"),
        ("422", ErrorType.BAD_REQUEST, "the provider answered 422 (odd)"),
        ("429", ErrorType.RATE_LIMITED, "the provider answered 429 (odd)"),
        ("500", ErrorType.SERVER_ERROR, "the provider answered 500 (odd)"),
        ("503", ErrorType.OVERLOADED, "the provider answered 503 (odd)"),
        ("504", ErrorType.TIMEOUT, "the provider answered 504 (odd)"),
        ("599", ErrorType.SERVER_ERROR, "the provider answered 599 (odd)"),
        ("302", ErrorType.UNKNOWN, "the provider answered 302 (odd)"),
        ("418", ErrorType.UNKNOWN, "the provider answered 418 (odd)"),
        ("", ErrorType.UNKNOWN, "the provider answered 0 (odd)"),
    ],
)
def test_any_status_but_2xx_has_failed(status: str, kind: ErrorType, message: str) -> None:
    """Whatever cut it short, and however it is labelled."""
    body = b'{"error":{"code":"odd","type":"sk_secret","message":"secret"}}'
    expected: tuple[Failure, str, list[Record]] = (Failure(type=kind, message=message), "", [])
    for chunks in ([body], one_by_one(body)):
        here = fed(reading(EVENTS, status=status), *chunks)
        assert not here.may_have_ended()
        assert concluded(here, CUT) == expected


def test_of_an_error_no_more_is_gathered_than_errors_have() -> None:
    body = b'{"error":{"code":"odd"}}'
    padded = body.rjust(65_536)
    for sent, words in ((padded + b"x", " (odd)"), (b" " + padded, "")):
        for chunks in ([sent], cut(sent, [10, 65_530, 65_536])):
            failure, *_ = concluded(fed(reading(status="500"), *chunks))
            assert failure == Failure(type=ErrorType.SERVER_ERROR, message=f"the provider answered 500{words}")


# Its end


def test_a_stream_may_have_ended_as_soon_as_its_last_event_is_there() -> None:
    """Until it is read, nobody knows: what only looks like it is no end."""
    here = reading(EVENTS)
    for chunk, may_have in ((CREATED, False), (DELTA, False), (b'data: {"name":"error"}\n\n', True), (COMPLETED, True)):
        here.feed(chunk, 1.0)
        assert (here.may_have_ended(), here.has_ended()) == (may_have, False)
        here.read()
    assert here.has_ended()


def test_behind_its_last_event_nothing_is_read() -> None:
    """What would be a second end, or a gzip member too many, is no matter."""
    again = COMPLETED.replace(b"resp_1", b"resp_2")
    assert concluded(fed(reading(EVENTS), COMPLETED + again)) == (None, "resp_1", [TOKENS])
    here = fed(reading(EVENTS), COMPLETED)
    here.feed(again, 2.0)
    assert concluded(here) == (None, "resp_1", [TOKENS])


@pytest.mark.parametrize("body", [ANSWER, gzip.compress(ANSWER, mtime=0)])
def test_a_body_ends_with_its_content_length(body: bytes) -> None:
    """In the bytes that travel."""
    coding = (("content-encoding", "gzip"),) if body != ANSWER else ()
    here = reading(JSON, ("content-length", str(len(body))), *coding)
    here.feed(body[:-1], 1.0)
    assert not here.may_have_ended()
    here.feed(body[-1:], 1.0)
    assert here.may_have_ended()
    assert here.has_ended()
    assert concluded(here) == (None, "resp_1", [TOKENS])


@pytest.mark.parametrize("length", ["", "-1", "x", "\u0663", "9" * 20])
def test_a_strange_content_length_is_none(length: str) -> None:
    here = reading(JSON, ("content-length", length))
    here.feed(ANSWER, 1.0)
    assert not here.may_have_ended()


# Bounds


def test_what_cannot_be_decoded_is_unread() -> None:
    """An error that cannot be decoded has its status all the same."""
    packed = ("content-encoding", "gzip")
    assert concluded(fed(reading(JSON, packed), b"no gzip")) == (UNREAD, "", [])
    assert concluded(fed(reading(EVENTS, packed), b"no gzip"), CUT) == (UNREAD, "", [])
    failure, *_ = concluded(fed(reading(JSON, packed, status="401"), b"no gzip"))
    assert failure == Failure(type=ErrorType.UNAUTHORIZED, message="the provider answered 401")


def test_what_decodes_to_more_than_the_bound_is_unread() -> None:
    """Unless its end came before."""
    bounds = Bounds(response_bytes=len(ANSWER))
    assert concluded(fed(reading(bounds=bounds), ANSWER)) == (None, "resp_1", [TOKENS])
    assert concluded(fed(reading(bounds=bounds), ANSWER + b" ")) == (UNREAD, "", [])
    bounds = Bounds(response_bytes=len(COMPLETED))
    assert concluded(fed(reading(EVENTS, bounds=bounds), COMPLETED + b"\n")) == (None, "resp_1", [TOKENS])
    assert concluded(fed(reading(EVENTS, bounds=bounds), DELTA + COMPLETED)) == (UNREAD, "", [])


def test_an_event_beyond_the_bound_is_unread() -> None:
    bounds = Bounds(event_bytes=len(COMPLETED) - 2)
    assert concluded(fed(reading(EVENTS, bounds=bounds), COMPLETED)) == (None, "resp_1", [TOKENS])
    bounds = Bounds(event_bytes=len(COMPLETED) - 3)
    assert concluded(fed(reading(EVENTS, bounds=bounds), COMPLETED)) == (UNREAD, "", [])


def test_a_stream_of_more_events_that_tell_than_any_has_is_unread() -> None:
    """Each is decoded. Deltas, which tell nothing, do not count."""
    few, many = CREATED * 4999, CREATED * 5000
    assert concluded(fed(reading(EVENTS), DELTA * 10_000, few, COMPLETED))[0] is None
    assert concluded(fed(reading(EVENTS), many, THINKING, COMPLETED)) == (UNREAD, "resp_1", [_of("resp_1")])
    assert concluded(fed(reading(EVENTS), many, DELTA, b'data: {"type":"error"}\n\n'))[0] == UNREAD


def _of(msg_id: str) -> Thought:
    return replace(THOUGHT, msg_id=msg_id)


FLOOD = b"\n" * 65_536


@pytest.mark.parametrize("flood", [FLOOD, b"\r" * 65_536, b":\n" * 65_536, b"\r\n" * 40_000])
def test_a_stream_of_nothing_but_short_lines_is_unread(flood: bytes) -> None:
    """Each costs as much as a long one; compressed, they cost their sender nothing."""
    assert concluded(fed(reading(EVENTS), flood, COMPLETED)) == (UNREAD, "", [])


def test_among_long_lines_as_many_short_ones_are_read() -> None:
    long = b": %s\n" % (b"x" * 1_000_000)
    assert concluded(fed(reading(EVENTS), long, FLOOD, COMPLETED)) == (None, "resp_1", [TOKENS])


def test_a_stream_once_unread_stays_so() -> None:
    """However long the lines that follow. What was left out could part an event, whose halves would make another."""
    half = b'data: {"type":"response.output_item.done","item":{"type":"reasoning","summary":[{"text":"'
    rest = b'"}]}}\n\n'
    for chunks in ((half, b"\n" * 60_000, b"x" * 200_000, rest, COMPLETED), (FLOOD, b"x" * 1_000_000, COMPLETED)):
        assert concluded(fed(reading(EVENTS), *chunks)) == (UNREAD, "", [])


@settings(max_examples=30)
@given(short=st.integers(53_500, 55_000), places=st.lists(st.integers(53_000, 80_000), max_size=4))
def test_where_a_stream_was_cut_does_not_decide_whether_it_is_too_much(short: int, places: list[int]) -> None:
    """Lines are counted at places of the stream's own: here the bound is passed for some bytes, perhaps."""
    stream = b"\n" * short + b"x" * 30_000 + b"\n" + THINKING + COMPLETED
    assert concluded(fed(reading(EVENTS), *cut(stream, places))) == concluded(fed(reading(EVENTS), stream))


# Deltas, skimmed


def test_whole_deltas_between_events_are_skimmed() -> None:
    """Most of what comes: nothing in them is read, so that each may be let go at once."""
    here = reading(EVENTS)
    assert not here.skims(DELTA)  # a byte order mark could be on its way
    here.feed(CREATED, 1.0)
    for chunk, skimmed in ((DELTA * 2, True), (DELTA[:-1], False), (b"event: x\n" + DELTA, True), (COMPLETED, False)):
        assert here.skims(chunk) is skimmed
    here.feed(COMPLETED[:-1], 1.0)
    assert not here.skims(DELTA)
    here.feed(COMPLETED[-1:], 1.0)
    assert concluded(here) == (None, "resp_1", [TOKENS])


def test_a_stream_of_deltas_alone_has_no_end() -> None:
    here = fed(reading(("x-none", "")), b": ping\n\n")
    assert here.skims(DELTA)
    assert concluded(here) == (NO_END, "", [])


@pytest.mark.parametrize(
    ("pairs", "status", "first"),
    [
        ((EVENTS, ("content-length", "10000")), "200", CREATED),
        ((EVENTS, ("content-encoding", "gzip")), "200", gzip.compress(CREATED, mtime=0)),
        ((JSON,), "200", b" "),
        ((JSON,), "200", b"{"),
        ((EVENTS,), "500", CREATED),
    ],
)
def test_what_has_to_be_counted_decoded_or_gathered_is_not_skimmed(
    pairs: tuple[tuple[str, str], ...], status: str, first: bytes
) -> None:
    assert not fed(reading(*pairs, status=status), first).skims(DELTA)


def test_what_is_skimmed_counts_against_the_bounds() -> None:
    here = fed(reading(EVENTS, bounds=Bounds(response_bytes=len(CREATED + DELTA))), CREATED)
    assert here.skims(DELTA)
    assert not here.skims(DELTA)
    assert concluded(fed(here, DELTA)) == (UNREAD, "resp_1", [])


# Nothing to read


@pytest.mark.parametrize("failure", [None, UNREAD])
def test_what_is_not_read_has_nothing_to_tell(failure: Failure | None) -> None:
    """Why it is not read comes before what cut it."""
    here = Unread(failure)
    here.feed(COMPLETED, 1.0)
    here.read()
    assert not here.skims(DELTA)
    assert not here.is_long(COMPLETED)
    assert pauses(here, COMPLETED) == here.held == 0
    assert (here.id, here.may_have_ended(), here.has_ended()) == ("", False, False)
    assert here.close(2.0) is failure
    assert here.close(2.0, CUT) == (failure or CUT)
    assert here.records() == ()


# Long chunks


def pauses(here: Unread, chunk: bytes, *, is_last: bool = False) -> int:
    return sum(1 for _ in here.feeding(chunk, 1.0, is_last=is_last))


def stopped(here: Unread, chunk: bytes, at: int) -> int:
    """How many pauses there were, up to the one `at` which nobody went on."""
    return sum(1 for _ in islice(here.feeding(chunk, 1.0, is_last=True), at))


def filled(size: int) -> bytes:
    return b'{"id":"%s",' % (b"x" * size) + ANSWER[1:]


@pytest.mark.parametrize("body", [filled(5 << 20), (b": %s\n" % (b"x" * 60_000)) * 90 + COMPLETED])
@pytest.mark.parametrize("coding", [b"identity", b"gzip", b"zstd"])
def test_a_long_chunk_is_read_with_pauses(body: bytes, coding: bytes) -> None:
    """However few bytes it travels as."""
    here = reading(("content-encoding", coding.decode()))
    chunk = CODINGS.get(coding.decode(), bytes)(body)
    assert here.is_long(chunk)
    assert pauses(here, chunk) >= 4  # one for each MiB, about
    assert concluded(here) == (None, "resp_1", [TOKENS])


def test_a_chunk_that_decodes_to_nothing_takes_its_time_too() -> None:
    here = reading(("content-encoding", "gzip"))
    assert pauses(here, gzip.compress(b"") * 100_000) > 1
    assert pauses(here, gzip.compress(ANSWER)) == 0


def test_a_short_chunk_is_read_at_once() -> None:
    here = reading()
    assert not here.is_long(ANSWER)
    assert pauses(here, ANSWER) == 0
    assert concluded(here) == (None, "resp_1", [TOKENS])


def test_events_are_read_in_the_pauses_and_nothing_after_the_last() -> None:
    """So that not all of them are kept at once; the end is known without a look at them."""
    here = reading(EVENTS)
    assert pauses(here, COMPLETED + b"\n" * (5 << 20)) == 1
    assert here.may_have_ended()
    assert here.has_ended()
    assert concluded(here) == (None, "resp_1", [TOKENS])


@pytest.mark.parametrize("last", [b"", COMPLETED])
@pytest.mark.parametrize("item", [THINKING, THINKING.replace(b"hm", rb"\ud800")])
def test_many_events_are_read_with_pauses_however_few_bytes_they_have(item: bytes, last: bytes) -> None:
    """A few hundred at once, whether the chunk may hold the end or not."""
    here = reading(EVENTS)
    chunk = item * 4000 + last
    assert len(chunk) < 1 << 20
    assert here.is_long(chunk)
    assert pauses(here, chunk) > 10
    assert here.has_ended() == bool(last)
    assert len(concluded(here)[2]) == 4000 + bool(last)


def test_a_few_events_wait_until_their_chunk_was_let_go() -> None:
    here = reading(EVENTS)
    assert pauses(here, CREATED + b": %s\n" % (b"x" * 40_000)) == 0
    assert here.id == ""
    here.read()
    assert here.id == "resp_1"


ODD = rb'{"id":"resp_1","x":"\ud800%s","usage":{"output_tokens":2}}' % (b"x" * (2 << 20))


@pytest.mark.parametrize(
    ("label", "body"), [(JSON, ODD), (EVENTS, b'data: {"type":"response.completed","response":%s}\n\n' % ODD)]
)
def test_what_is_mended_is_mended_with_pauses(label: tuple[str, str], body: bytes) -> None:
    """Where a long text comes to its end, however short the chunk is that brings it; and read once."""
    here = fed(reading(label), body[:-10])
    assert here.is_long(b"")
    assert pauses(here, body[-10:], is_last=True) > 6
    assert concluded(here) == (None, "resp_1", [TOKENS])


def test_a_document_is_read_in_the_pauses_when_its_content_length_is_reached() -> None:
    here = reading(("content-length", str(len(ODD))))
    assert pauses(here, ODD) > 6
    assert concluded(here) == (None, "resp_1", [TOKENS])


@pytest.mark.parametrize(
    ("label", "body", "begun"),
    [
        (JSON, ODD, len(ODD) - 10),
        (EVENTS, b'data: {"type":"response.completed","response":%s}\n\n' % ODD, len(ODD)),
        (EVENTS, THINKING * 4000, 0),
    ],
)
def test_who_stops_at_a_pause_loses_nothing(label: tuple[str, str], body: bytes, begun: int) -> None:
    """A stream may end in between."""
    there = fed(reading(label), body[:begun])
    count = pauses(there, body[begun:], is_last=True)
    expected = concluded(there, CUT)
    assert count > 6
    for at in range(1, count + 1, 3):
        here = fed(reading(label), body[:begun])
        assert stopped(here, body[begun:], at) == at
        assert concluded(here, CUT) == expected


def test_what_is_very_long_is_mended_in_pauses_or_not_at_all() -> None:
    """Where the stream has ended there are none."""
    body = ODD.replace(b"xx", b"xx" * 9)
    assert concluded(fed(reading(), body), CUT) == (CUT, "", [])
    here = reading()
    pauses(here, body, is_last=True)
    assert concluded(here) == (None, "resp_1", [TOKENS])
    assert concluded(fed(reading(), body.replace(rb"\ud800", b""))) == (None, "resp_1", [TOKENS])


@pytest.mark.parametrize("more", [("content-encoding", "gzip"), EVENTS, (":status", "429"), ("x", "y")])
def test_in_the_end_there_may_be_nothing_more_to_read(more: tuple[str, str]) -> None:
    here = reading(more, status=dict([more]).get(":status", "200"))
    before = concluded(fed(reading(more), b""))
    assert pauses(here, b"", is_last=True) == 0
    assert concluded(here)[1:] == before[1:]


@pytest.mark.parametrize(
    "text", [b"," * 1_100_000, rb"\ud800" * 20_001, b'"},"y":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b',"z":{"a":"']
)
def test_an_event_that_is_too_much_to_read_is_unread(text: bytes) -> None:
    """It has not been missing: the provider has sent it. What else went wrong was before it."""
    too_much = COMPLETED.replace(b'{"id"', b'{"x":"%s","id"' % text)
    unread = Failure(type=ErrorType.UNREAD, message="an event has too many values or odd characters")
    assert concluded(fed(reading(EVENTS), CREATED + too_much)) == (unread, "resp_1", [])
    error = b'data: {"type":"error","code":"odd"}\n\n'
    odd = Failure(type=ErrorType.UNKNOWN, message="the provider reported an error (odd)")
    assert concluded(fed(reading(EVENTS), CREATED + error + too_much)) == (odd, "resp_1", [])


@given(body=BODIES, label=st.sampled_from([JSON, EVENTS]), places=st.lists(st.integers(0, 2000), max_size=8))
@pytest.mark.parametrize("coding", ["identity", "gzip", "br"])
def test_reading_with_pauses_changes_nothing(
    coding: str, body: bytes, label: tuple[str, str], places: list[int]
) -> None:
    plain = concluded(fed(reading(label), body))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sidecar.core.reading._PART", 10)
        patch.setattr("sidecar.core.reading._LEAST", 1)
        patch.setattr("sidecar.core.reading._FEW", 20)
        here = reading(label, ("content-encoding", coding))
        *chunks, last = cut(CODINGS.get(coding, bytes)(body), places)
        for chunk in chunks:
            pauses(here, chunk)
        pauses(here, last, is_last=True)
    assert concluded(here) == plain


def test_little_of_a_body_does_not_count_as_kept() -> None:
    assert fed(reading(), b'{"id":"' + b"x" * 200_000).held == 0


@pytest.mark.parametrize("label", [JSON, EVENTS])
def test_what_is_kept_of_a_body_is_told(label: tuple[str, str]) -> None:
    """A document until it is read, an event until its last line, and what was found."""
    begun = {JSON: b'{"id":"', EVENTS: b'data: {"id":"'}[label]
    here = fed(reading(label), begun + b"x" * 300_000, b"x" * 300_000)
    assert 600_000 <= here.held < 700_000
    assert fed(here, b"\n\n").held < 700_000


def test_what_was_found_is_kept_until_the_end() -> None:
    thinking = THINKING.replace(b"hm", b"h" * 90)
    here = fed(reading(EVENTS), thinking * 3000)
    here.read()
    assert here.held > 3000 * 90


def test_of_an_error_little_is_kept() -> None:
    assert fed(reading(status="429"), b"x" * 300_000).held == 65_536


# Whatever comes

LABELS = st.sampled_from([JSON, EVENTS, ("content-type", "")])
STATUSES = st.sampled_from(["200", "200", "200", "204", "429", "500", ""])
BOUNDS = st.builds(
    Bounds, event_bytes=st.sampled_from([10, 100, 10_000]), response_bytes=st.sampled_from([10, 300, 10_000])
)


@given(body=BODIES, label=LABELS, status=STATUSES, bounds=BOUNDS, places=st.lists(st.integers(0, 2000), max_size=8))
def test_any_body_in_any_cut_leaves_the_same(
    body: bytes, label: tuple[str, str], status: str, bounds: Bounds, places: list[int]
) -> None:
    """Sound or not, within its bounds or not; whether it is read along or at its end."""
    expected = concluded(fed(reading(label, status=status, bounds=bounds), body))
    for chunks in (cut(body, places), one_by_one(body)):
        assert concluded(fed(reading(label, status=status, bounds=bounds), *chunks)) == expected
        late = reading(label, status=status, bounds=bounds)
        for chunk in chunks:
            late.feed(chunk, 1.0)
        assert concluded(late) == expected


@given(chunks=st.lists(PIECES, max_size=12), label=LABELS, bounds=BOUNDS)
def test_skimming_what_can_be_skimmed_changes_nothing(
    chunks: list[bytes], label: tuple[str, str], bounds: Bounds
) -> None:
    skimming, feeding = reading(label, bounds=bounds), reading(label, bounds=bounds)
    for chunk in chunks:
        if not skimming.skims(chunk):
            skimming.feed(chunk, 1.0)
        feeding.feed(chunk, 1.0)
        assert skimming.may_have_ended() == feeding.may_have_ended()
    assert concluded(skimming) == concluded(feeding)


@given(
    body=BODIES.filter(len),
    label=LABELS,
    damages=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), max_size=2),
    places=st.lists(st.integers(0, 2000), max_size=5),
)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_damaged_coding_in_any_cut_leaves_the_same(
    coding: str, body: bytes, label: tuple[str, str], damages: list[tuple[int, int]], places: list[int]
) -> None:
    """What was said before the fault is read, and that there was one is told unless the response had ended."""
    broken = bytearray(CODINGS[coding](body))
    for place, byte in damages:
        broken[-1 - place % len(broken)] ^= byte  # most places that are drawn are small, most faults late
    expected = concluded(fed(reading(label, ("content-encoding", coding)), bytes(broken)))
    for chunks in (cut(bytes(broken), places), one_by_one(bytes(broken))):
        assert concluded(fed(reading(label, ("content-encoding", coding)), *chunks)) == expected


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_fault_behind_the_last_event_changes_nothing(coding: str) -> None:
    """However much of the body came at once."""
    broken = CODINGS[coding](CREATED + COMPLETED)
    broken = broken[:-1] + bytes([broken[-1] ^ 0x55]) if coding in {"gzip", "deflate"} else broken + b"more"
    for chunks in ([broken], [broken[:-4], broken[-4:]], one_by_one(broken)):
        here = fed(reading(EVENTS, ("content-encoding", coding)), *chunks)
        assert concluded(here) == (None, "resp_1", [TOKENS])


@given(
    chunks=st.lists(st.binary(max_size=50) | PIECES, max_size=8), coding=st.sampled_from(["gzip", "br", "zstd", "x"])
)
def test_whatever_bytes_claim_to_be_encoded_nothing_is_raised(chunks: list[bytes], coding: str) -> None:
    """Almost none are; brotli, for one, can carry text as it stands."""
    here = fed(reading(("content-encoding", coding)), *chunks)
    here.close(1.0)
    assert [
        record for record in here.records() if record not in (TOKENS, THOUGHT, replace(THOUGHT, msg_id="resp_1"))
    ] == []
