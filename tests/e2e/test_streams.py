"""Streams that take their time, and streams of which one end goes away."""

import pytest

from examples.answers import Answer
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import Connection, ask, asking, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, EVENT_STREAM, FIRST, LAST, PROMPT, pieces, streamed, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

GONE = b'{"code":"503","message":"the provider could not be reached, or hung up before it answered"}'


def test_the_first_event_is_there_while_the_provider_holds_the_others(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = streamed(case, hold=1)
    with asking(shared.port, case, ASKED_STREAM) as connection:
        assert connection.head().status == 200
        first = connection.until(FIRST)
        assert first == pieces(case)[0]  # nothing can follow yet: the provider waits for us
        provider.release(case)
        assert (first + connection.rest()[0]) == b"".join(pieces(case))


def test_headers_are_there_while_the_provider_holds_the_body(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Clients show that the model thinks as soon as they have them."""
    script[case] = streamed(case, hold=0)
    with asking(shared.port, case, ASKED_STREAM) as connection:
        assert connection.head().first("content-type") == EVENT_STREAM
        provider.release(case)
        assert connection.rest() == (b"".join(pieces(case)), True)


def test_half_an_event_is_not_kept_back(shared: Bridge, script: Script, provider: ThreadedProvider, case: str) -> None:
    """Chunks pass as they come, whatever they hold."""
    event = pieces(case)[0]
    script[case] = Answer(content_type=EVENT_STREAM, body=(event[:20], event[20:]), hold=1)
    with asking(shared.port, case, ASKED_STREAM) as connection:
        connection.head()
        assert connection.until(event[:20]) == event[:20]
        provider.release(case)
        assert connection.rest() == (event[20:], True)


def test_an_interception_that_runs_is_open_and_holds_its_prompt(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """So a crash cannot lose it."""
    script[case] = streamed(case, hold=1)
    with asking(shared.port, case, ASKED_STREAM) as connection:
        provider.arrival(case)
        (running,) = shared.sessions(case)
        assert (running.interception["open_prompt"], running.asked) == (PROMPT, [])
        assert running.ended == (None, None, None)
        provider.release(case)
        connection.response()
    ended = shared.session(case)
    assert (ended.interception["open_prompt"], ended.asked) == (None, [(f"resp_{case}", PROMPT)])


def test_whoever_leaves_at_the_terminal_event_has_been_recorded(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Codex hangs up right there, before the stream's end."""
    script[case] = streamed(case, hold=len(pieces(case)))
    with asking(shared.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(LAST)
        recorded = shared.session(case)
        connection.reset()
    provider.departure(case)
    assert recorded.ended == ("completed", None, 200)
    assert shared.session(case) == recorded


@pytest.mark.parametrize("is_streaming", [False, True])
def test_a_client_that_leaves_while_the_provider_thinks_is_told_to_the_provider(
    shared: Bridge,
    script: Script,
    provider: ThreadedProvider,
    case: str,
    is_streaming: bool,  # noqa: FBT001 - a parameter
) -> None:
    """It need not go on thinking; what was asked is on record."""
    script[case] = streamed(case, hold=-1) if is_streaming else whole(case, hold=-1)
    with asking(shared.port, case, ASKED_STREAM if is_streaming else ASKED) as connection:
        provider.arrival(case)
        connection.reset()
    provider.departure(case)
    recorded = shared.ending(case)
    assert recorded.ended == ("failed", "disconnected", None)
    assert recorded.asked == [("", PROMPT)]


def test_a_client_that_leaves_amid_the_stream_leaves_what_it_saw_on_record(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = streamed(case, hold=3)
    with asking(shared.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        connection.reset()
    provider.departure(case)
    recorded = shared.ending(case)
    assert recorded.ended == ("failed", "disconnected", 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]
    assert recorded.tokens == []


@pytest.mark.parametrize("sent", [0, 40])
def test_a_client_that_leaves_amid_its_upload_was_never_there(
    shared: Bridge, provider: ThreadedProvider, case: str, sent: int
) -> None:
    """Half a request is none: nothing to record, nothing for the provider."""
    told = ("content-length", str(len(ASKED))), ("x-request-id", f"upload-{case}")
    before = shared.heard()
    with asking(shared.port, case, ASKED[:sent], *told) as connection:
        eventually(lambda: shared.heard() > before, "the worker's answer to the headers")
        connection.reset()
    line = shared.accessed(request_id=f"upload-{case}")
    assert (line["status"], line["flags"], line["interception"]) == (0, "DC", None)
    assert case not in provider.seen
    assert shared.sessions(case) == []


def test_a_provider_that_dies_amid_the_stream_cuts_it_for_the_client_too(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """A stream that ended as if all were well would be a lie."""
    script[case] = streamed(case, hold=2, die=2)
    with asking(shared.port, case, ASKED_STREAM) as connection:
        connection.head()
        got = connection.until(pieces(case)[1])
        provider.release(case)
        assert connection.rest() == (b"", False)
    assert got == b"".join(pieces(case)[:2])
    recorded = shared.ending(case)
    assert recorded.ended == ("failed", "disconnected", 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]


def test_a_provider_that_dies_amid_its_json_cuts_it_for_the_client_too(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    body = whole(case).body
    assert isinstance(body, bytes)
    script[case] = Answer(headers=(("content-length", str(len(body))),), body=(body[:50], body[50:]), hold=1, die=1)
    with asking(shared.port, case, ASKED) as connection:
        assert connection.head().first("content-length") == str(len(body))
        assert connection.exactly(50) == body[:50]
        provider.release(case)
        assert connection.ended()
    recorded = shared.ending(case)
    assert recorded.ended == ("failed", "disconnected", 200)
    assert recorded.asked == [("", PROMPT)]


@pytest.mark.parametrize("is_streaming", [False, True])
def test_a_provider_that_dies_before_its_headers_is_asked_once_and_never_again(
    shared: Bridge,
    script: Script,
    provider: ThreadedProvider,
    case: str,
    is_streaming: bool,  # noqa: FBT001 - a parameter
) -> None:
    """It may have billed."""
    script[case] = whole(case, die=-1)
    response = ask(shared.port, case, ASKED_STREAM if is_streaming else ASKED)
    assert (response.status, response.body) == (503, GONE)
    assert response.first("content-type") == "application/json"
    assert len(provider.seen[case]) == 1
    recorded = shared.session(case)
    assert recorded.ended == ("failed", "disconnected", 503)
    assert recorded.asked == [("", PROMPT)]


def test_a_provider_that_refuses_connections_is_tried_three_times(shared: Bridge, case: str) -> None:
    """Nothing has reached it: nobody is billed twice. One interception all the same."""
    response = ask(shared.port, case, ASKED, path="/gone/v1/responses")
    assert (response.status, response.body) == (503, GONE)
    recorded = shared.session(case)
    assert recorded.ended == ("failed", "disconnected", 503)
    line = shared.accessed(interception=recorded.interception["id"])
    assert (line["attempts"], line["status"], line["route"]) == (3, 503, "gone")


def test_many_streams_are_open_at_once(shared: Bridge, script: Script, provider: ThreadedProvider, case: str) -> None:
    """More than one connection's worth of anything's default."""
    script[case] = streamed(case, hold=1)
    connections = [Connection(shared.port) for _ in range(150)]
    try:
        for connection in connections:
            connection.send(request(case, ASKED_STREAM))
        for connection in connections:
            connection.head()
            connection.until(FIRST)
        provider.release(case)
        rest = b"".join(pieces(case)[1:])
        assert all(connection.rest() == (rest, True) for connection in connections)
    finally:
        for connection in connections:
            connection.__exit__()
    found = shared.sessions(case)
    assert [one.ended for one in found] == [("completed", None, 200)] * 150
