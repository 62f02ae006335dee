"""A worker that is killed, stopped or at odds with itself: requests fail closed, responses lose no byte."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from examples.provider import ThreadedProvider
from tests.conftest import StartBridge
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import Connection, Response, ask, asking, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, FIRST, PROMPT, pieces, streamed, whole
from tests.e2e.processes import is_running, killed
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

CROWD = 200  # clients at once
CROWDS = 8 * min(os.cpu_count() or 1, 4)  # Envoy has a thread for each processor, and each thread its own connection
NO_VERDICT = b'{"code":"500","message":"the sidecar gave no verdict on this request"}'


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    """One whose workers may be killed: the next test finds their successors."""
    with bridge(tmp_path_factory.mktemp("fragile"), provider.url) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def worker(fragile: Bridge) -> int:
    """The pid of the worker that serves."""
    return fragile.worker()


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """Nothing of that process runs meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def half_sent(bridge: Bridge, case: str) -> Iterator[Connection]:
    """A connection on which a request has been sent but for its last byte; the worker has answered its headers."""
    before = bridge.heard()
    with Connection(bridge.port) as connection:
        connection.send(request(case, ASKED[:-1], ("content-length", str(len(ASKED)))))
        eventually(lambda: bridge.heard() > before, "the worker's answer to the headers")
        yield connection


def assert_refused(response: Response) -> None:
    assert (response.status, response.body) == (500, NO_VERDICT)
    assert response.first("content-type") == "application/json"


def test_a_worker_killed_before_its_verdict_means_no(
    fragile: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """A request that nobody has judged is never forwarded."""
    script[case] = whole(case)
    with half_sent(fragile, case) as connection:
        killed(worker)
        with suppress(ConnectionError):  # Envoy may have refused it, and hung up, without waiting for the rest
            connection.send(ASKED[-1:])
        assert_refused(connection.response())
    assert case not in provider.seen
    assert fragile.sessions(case) == []


def test_a_request_that_finds_no_worker_at_all_is_refused(
    fragile: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = whole(case)
    os.kill(worker, signal.SIGKILL)
    response = ask(fragile.port, case, ASKED)
    eventually(lambda: not is_running(worker), "its end")
    # A successor may be there already, on a machine with nothing else to do.
    assert response.status in {200, 500}
    assert len(provider.seen[case]) == (1 if response.status == 200 else 0)


def test_a_worker_that_hangs_before_its_verdict_means_no(
    fragile: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Envoy waits five seconds; the worker, when it goes on, ends what it finds."""
    script[case] = whole(case)
    with half_sent(fragile, case) as connection, standing_still(worker):
        connection.send(ASKED[-1:])
        assert_refused(connection.response())
    assert case not in provider.seen
    recorded = eventually(lambda: fragile.sessions(case) or ["none"], "what the worker makes of it")
    if recorded != ["none"]:
        assert fragile.ending(case).interception["status"] == "failed"


def test_a_worker_killed_amid_a_stream_costs_the_client_no_byte(
    fragile: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Envoy keeps the bytes. What the worker left open is ended when it is replaced, its prompt kept."""
    script[case] = streamed(case, hold=2)
    with asking(fragile.port, case, ASKED_STREAM) as connection:
        connection.head()
        got = connection.until(pieces(case)[1])
        killed(worker)
        provider.release(case)
        rest = connection.rest()
    assert (got + rest[0], rest[1]) == (b"".join(pieces(case)), True)
    recorded = fragile.ending(case)
    assert recorded.ended == ("failed", "lost", None)
    assert recorded.asked == [("", PROMPT)]
    line = fragile.accessed(interception=recorded.interception["id"])
    assert (line["status"], line["bytes_out"] >= len(got + rest[0])) == (200, True)


def test_a_worker_that_stands_still_for_a_moment_misses_nothing(
    fragile: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """What came meanwhile lies in its socket."""
    script[case] = streamed(case, hold=2)
    with asking(fragile.port, case, ASKED_STREAM) as connection:
        connection.head()
        got = connection.until(pieces(case)[1])
        with standing_still(worker):
            provider.release(case)
        rest = connection.rest()
    assert (got + rest[0], rest[1]) == (b"".join(pieces(case)), True)
    recorded = fragile.session(case)
    assert recorded.ended == ("completed", None, 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]


def test_a_worker_that_stands_still_while_many_come_and_go_misses_nothing(
    fragile: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Each who goes leaves a frame for it. By default Envoy takes it for an attacker, and ends every stream it has."""
    script[case] = streamed(case, hold=2)
    with asking(fragile.port, case, ASKED_STREAM) as connection:
        connection.head()
        got = connection.until(pieces(case)[1])
        with standing_still(worker):
            for _ in range(CROWDS):
                with ExitStack() as stack:
                    before = fragile.statistic("http.aibridge.downstream_rq_total")
                    for _ in range(CROWD):
                        leaving = stack.enter_context(Connection(fragile.port))
                        leaving.send(request(f"{case}-leaves", b"", ("content-length", "1")))
                    eventually(
                        lambda before=before: fragile.statistic("http.aibridge.downstream_rq_total") >= before + CROWD,
                        "their requests",
                    )
        provider.release(case)
        rest = connection.rest()
    assert (got + rest[0], rest[1]) == (b"".join(pieces(case)), True)
    assert fragile.session(case).ended == ("completed", None, 200)


def test_a_worker_that_hangs_amid_a_stream_costs_the_client_no_byte(
    fragile: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Envoy waits five seconds and then shows it nothing any more; the stream takes ten at least."""
    script[case] = streamed(case, hold=2, pace=10 / (len(pieces(case)) - 2))
    with asking(fragile.port, case, ASKED_STREAM) as connection:
        connection.head()
        got = connection.until(pieces(case)[1])
        with standing_still(worker):
            provider.release(case)
            rest = connection.rest()
    assert (got + rest[0], rest[1]) == (b"".join(pieces(case)), True)
    recorded = fragile.ending(case)
    assert recorded.ended == ("failed", "unobserved", 200)
    assert recorded.asked == [(f"resp_{case}", PROMPT)]


def test_a_worker_that_was_killed_is_replaced_and_clients_are_served_again(
    fragile: Bridge, worker: int, script: Script, case: str
) -> None:
    script[case] = whole(case)
    killed(worker)
    assert fragile.worker() != worker
    assert ask(fragile.port, case, ASKED).status == 200
    assert fragile.session(case).ended == ("completed", None, 200)


def test_an_envoy_that_was_killed_is_replaced_and_clients_are_served_again(
    fragile: Bridge, worker: int, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """What it had under way has ended with it; the workers have seen that."""
    script[case] = streamed(case, hold=1)
    with asking(fragile.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        killed(fragile.envoy())
        assert connection.ended()
    assert fragile.ending(case).ended == ("failed", "disconnected", 200)
    assert fragile.worker() == worker
    provider.release(case)
    script[f"{case}-2"] = whole(f"{case}-2")
    assert ask(fragile.port, f"{case}-2", ASKED).status == 200


def test_what_the_whole_bridge_left_open_is_ended_at_the_next_start(
    start_bridge: StartBridge, script: Script, case: str
) -> None:
    """A power cut: nobody was left to end anything. The next one need not be at the same address."""
    script[case] = streamed(case, hold=1)
    first = start_bridge()
    with asking(first.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        # As if at once: nobody hears of another's end, since their parent stands still and ends last.
        os.kill(first.process.pid, signal.SIGSTOP)
        for pid in (*first.workers(), first.envoy(), first.process.pid):
            os.kill(pid, signal.SIGKILL)
        first.process.wait()
    assert [one.ended for one in first.sessions(case)] == [(None, None, None)]
    second = start_bridge()
    assert second.port != first.port
    recorded = second.session(case)
    assert recorded.ended == ("failed", "lost", None)
    assert recorded.asked == [("", PROMPT)]
    assert second.stop() == 0
