"""Clients that take their time on purpose: each is given up in the end, and keeps nobody else waiting."""

import select
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count

import pytest

from examples.answers import Answer
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import Connection, ask, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, EVENT_STREAM, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE

SHORT = 2.0  # seconds for a request to arrive, and for a stream without a move
PAUSE = 0.1  # seconds between two bytes
MANY = 50  # connections at once
TOO_SLOW = {"code": "408", "message": "the request did not arrive in time"}
# Some 200 MB: kernels let a socket hold up to 36 of them, on either side of Envoy.
MORE_THAN_BUFFERS_HOLD = (b"data: " + b"x" * 100_000 + b"\n\n",) * 2000


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    limits = {"request_timeout": SHORT, "idle_timeout": 2 * SHORT}
    with bridge(tmp_path_factory.mktemp("hasty"), provider.url, limits=limits) as running:
        yield running
        assert running.stop() == 0


def dribbled(connections: Sequence[Connection], data: bytes) -> None:
    """Send `data` for ever, a byte at a time on each of them, until all have been answered."""
    waiting = set(connections)
    for turn in count():
        answered, _, _ = select.select(waiting, [], [], PAUSE)
        waiting -= set(answered)
        if not waiting:
            return
        assert turn < PATIENCE / PAUSE, f"{len(waiting)} are still waited for"
        for connection in waiting:
            connection.send(data[turn % len(data) :][:1])


def assert_given_up(connection: Connection) -> None:
    response = connection.response()
    assert (response.status, response.json()) == (408, TOO_SLOW)
    assert response.first("content-type") == "application/json"
    assert connection.ended()


def assert_serves(running: Bridge, script: Script, case: str) -> None:
    script[case] = whole(case)
    assert ask(running.port, case, ASKED).body == whole(case).body
    assert running.session(case).ended == ("completed", None, 200)


def test_a_body_that_never_ends_is_given_up_though_something_comes_all_the_time(
    hasty: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """None of them was asked, and so none is recorded; who hurries is served meanwhile."""
    with ExitStack() as stack:
        slow = [stack.enter_context(Connection(hasty.port)) for _ in range(MANY)]
        for connection in slow:
            connection.send(request(case, b"", ("content-length", "100000")))
        assert_serves(hasty, script, f"{case}-meanwhile")
        dribbled(slow, b" ")
        for connection in slow:
            assert_given_up(connection)
    assert case not in provider.seen
    assert hasty.sessions(case) == []
    assert_serves(hasty, script, f"{case}-after")


def test_headers_that_never_end_are_given_up_though_something_comes_all_the_time(
    hasty: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """A slow loris."""
    with ExitStack() as stack:
        slow = [stack.enter_context(Connection(hasty.port)) for _ in range(MANY)]
        for connection in slow:
            connection.send(request(case)[:-2])
        assert_serves(hasty, script, f"{case}-meanwhile")
        dribbled(slow, b"x-a: b\r\n")
        for connection in slow:
            assert_given_up(connection)
    assert case not in provider.seen
    assert_serves(hasty, script, f"{case}-after")


def test_an_answer_that_nobody_reads_is_given_up(
    hasty: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """What its client does not take, Envoy does not take from the provider either."""
    script[case] = Answer(content_type=EVENT_STREAM, body=MORE_THAN_BUFFERS_HOLD)
    with Connection(hasty.port) as connection:
        connection.send(request(case, ASKED_STREAM))
        assert connection.head().status == 200
        assert_serves(hasty, script, f"{case}-meanwhile")
        recorded = hasty.ending(case)
        assert connection.rest()[1] is False
    assert recorded.ended == ("failed", "disconnected", 200)
    provider.departure(case)
    assert_serves(hasty, script, f"{case}-after")
