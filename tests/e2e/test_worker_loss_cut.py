"""`recorder.on_worker_loss = "cut"`: what is not recorded is not read to its end; everything else is as ever."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests.conftest import StartBridge
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import Connection, Response, ask, asking, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, FIRST, PROMPT, pieces, streamed, whole
from tests.e2e.processes import is_running, killed
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

NO_VERDICT = b'{"code":"500","message":"the sidecar gave no verdict on this request"}'
NOT_RECORDED = b'{"code":"500","message":"the response could not be recorded"}'
STOPS = 30.0  # seconds that a worker may take which lets what is under way end


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    """One whose workers may be killed: the next test finds their successors."""
    folder = tmp_path_factory.mktemp("strict")
    recorder = {"url": f"sqlite:///{folder}/records.db", "on_worker_loss": "cut"}
    with bridge(folder, provider.url, recorder=recorder) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def worker(strict: Bridge) -> int:
    """The pid of the worker that serves."""
    return strict.worker()


@contextmanager
def begun(bridge: Bridge, case: str) -> Iterator[tuple[Connection, bytes]]:
    """A stream of which two events have come, and these."""
    with asking(bridge.port, case, ASKED_STREAM) as connection:
        assert connection.head().status == 200
        yield connection, connection.until(pieces(case)[1])


def assert_refused(response: Response, body: bytes = NO_VERDICT) -> None:
    assert (response.status, response.body) == (500, body)
    assert response.first("content-type") == "application/json"


def test_json_passes_as_it_came_and_is_recorded(strict: Bridge, worker: int, script: Script, case: str) -> None:  # noqa: ARG001 - it serves
    script[case] = whole(case)
    response = ask(strict.port, case, ASKED)
    assert (response.status, response.body, response.whole) == (200, whole(case).body, True)
    recorded = strict.session(case)
    assert recorded.ended == ("completed", None, 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]
    assert [row["input_tokens"] for row in recorded.tokens] == [6]


def test_a_stream_passes_as_it_comes_and_is_recorded(
    strict: Bridge,
    worker: int,  # noqa: ARG001 - it serves
    script: Script,
    provider: ThreadedProvider,
    case: str,
) -> None:
    """Nothing is kept back but what waits for its record."""
    script[case] = streamed(case, hold=2)
    with begun(strict, case) as (connection, got):
        provider.release(case)
        rest = connection.rest()
    assert (got + rest[0], rest[1]) == (b"".join(pieces(case)), True)
    recorded = strict.session(case)
    assert recorded.ended == ("completed", None, 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]


def test_a_client_that_leaves_early_is_recorded(
    strict: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Not our doing: the worker says so, and goes on serving."""
    script[case] = streamed(case, hold=2)
    with begun(strict, case):
        pass
    assert strict.ending(case).ended == ("failed", "disconnected", 200)
    provider.release(case)
    assert strict.worker() == worker


def test_an_upgrade_is_refused_as_ever(strict: Bridge, worker: int) -> None:  # noqa: ARG001 - it serves
    """Envoy answers before the sidecar has seen the request; the sidecar sees the answer."""
    assert ask(strict.port, "", b"", ("connection", "upgrade"), ("upgrade", "websocket"), method="GET").status == 426


def test_a_passthrough_outlives_its_worker(
    strict: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Its body is not shown to the worker, so there is nothing to wait for."""
    script[case] = streamed(case, hold=2)
    with asking(strict.port, case, b"", method="GET", path="/openai/v1/responses/resp_1?stream=true") as connection:
        assert connection.head().status == 200
        got = connection.until(pieces(case)[1])
        killed(worker)
        provider.release(case)
        rest = connection.rest()
    assert (got + rest[0], rest[1]) == (b"".join(pieces(case)), True)
    assert strict.sessions(case) == []


def test_a_worker_killed_amid_a_stream_costs_the_client_the_rest(
    strict: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """The connection breaks, so nobody takes it for whole; when the worker is replaced it is ended, its prompt kept."""
    script[case] = streamed(case, hold=2)
    with begun(strict, case) as (connection, _):
        killed(worker)
        provider.release(case)
        assert connection.rest() == (b"", False)
        assert connection.ended()
    recorded = strict.ending(case)
    assert recorded.ended == ("failed", "lost", None)
    assert recorded.asked == [("", PROMPT)]
    line = strict.accessed(interception=recorded.interception["id"])
    assert line["status"] == 200
    assert line["details"].startswith("ext_proc_error_gRPC_error")


def test_a_worker_killed_amid_json_costs_the_client_the_rest(
    strict: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Its length was told, and is not reached."""
    script[case] = whole(case, hold=0)
    with asking(strict.port, case, ASKED) as connection:
        assert connection.head().first("content-length") == str(len(whole(case).body))
        killed(worker)
        provider.release(case)
        assert connection.ended()
    assert strict.ending(case).ended == ("failed", "lost", None)


def test_a_worker_killed_before_the_response_means_an_error(
    strict: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """The provider has been asked, so the words are others than those of a refusal."""
    script[case] = streamed(case, hold=-1)
    with asking(strict.port, case, ASKED_STREAM) as connection:
        provider.arrival(case)
        killed(worker)
        assert_refused(connection.response(), NOT_RECORDED)
    provider.release(case)
    assert strict.ending(case).ended == ("failed", "lost", None)


def test_a_worker_that_hangs_amid_a_stream_costs_the_client_the_rest(
    strict: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Envoy waits five seconds, and the stream takes ten at least. When the worker goes on it says what it missed."""
    script[case] = streamed(case, hold=2, pace=10 / (len(pieces(case)) - 2))
    with begun(strict, case) as (connection, _):
        os.kill(worker, signal.SIGSTOP)
        try:
            provider.release(case)
            assert connection.rest() == (b"", False)
        finally:
            os.kill(worker, signal.SIGCONT)
    recorded = strict.ending(case)
    assert recorded.ended == ("failed", "unobserved", 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]
    line = strict.accessed(interception=recorded.interception["id"])
    assert (line["status"], line["details"]) == (200, "ext_proc_error_per-message_timeout_exceeded")


def test_a_worker_told_to_stop_cuts_what_has_not_ended_in_time(
    strict: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """It waits for ten seconds; it must not leave Envoy alone with the rest."""
    script[case] = streamed(case, hold=2)
    with begun(strict, case) as (connection, _):
        os.kill(worker, signal.SIGTERM)
        eventually(lambda: not is_running(worker), "its end", STOPS)
        provider.release(case)
        assert connection.rest() == (b"", False)
    recorded = strict.session(case)
    assert recorded.ended == ("failed", "unobserved", 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]


def test_a_bridge_told_to_stop_cuts_what_has_not_ended_in_time(
    start_bridge: StartBridge, script: Script, provider: ThreadedProvider, case: str, tmp_path: Path
) -> None:
    """Envoy goes first, and its connections with it."""
    recorder = {"url": f"sqlite:///{tmp_path}/records.db", "on_worker_loss": "cut"}
    stopping = start_bridge(recorder=recorder)
    script[case] = streamed(case, hold=2)
    with begun(stopping, case) as (connection, _):
        assert stopping.stop() == 0
        provider.release(case)
        assert connection.rest() == (b"", False)
    recorded = stopping.session(case)
    assert recorded.ended == ("failed", "disconnected", 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]


def test_a_worker_killed_before_its_verdict_means_no(
    strict: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = whole(case)
    before = strict.heard()
    with Connection(strict.port) as connection:
        connection.send(request(case, ASKED[:-1], ("content-length", str(len(ASKED)))))
        eventually(lambda: strict.heard() > before, "the worker's answer to the headers")
        killed(worker)
        assert_refused(connection.response())
    assert case not in provider.seen
    assert strict.sessions(case) == []


def test_a_worker_that_hangs_before_its_verdict_means_no(
    strict: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Envoy calls it a time-out of its own; to the client it is the same as any other missing verdict."""
    script[case] = whole(case)
    os.kill(worker, signal.SIGSTOP)
    try:
        assert_refused(ask(strict.port, case, ASKED))
    finally:
        os.kill(worker, signal.SIGCONT)
    assert case not in provider.seen


def test_an_answer_that_is_too_long_to_be_read_passes_as_unread(
    start_bridge: StartBridge, script: Script, case: str, tmp_path: Path
) -> None:
    """That much is on record: it is not the worker that was lost."""
    recorder = {"url": f"sqlite:///{tmp_path}/records.db", "on_worker_loss": "cut"}
    small = start_bridge(recorder=recorder, limits={"max_event_bytes": 64})
    script[case] = streamed(case)
    with asking(small.port, case, ASKED_STREAM) as connection:
        connection.head()
        assert connection.until(FIRST)
        assert connection.rest()[1]
    assert small.session(case).ended[:2] == ("failed", "unread")
    assert small.stop() == 0
