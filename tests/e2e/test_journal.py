"""The journal under the whole: durable before the verdict, and in trouble without a loss."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from examples.answers import Answer, Seen
from examples.provider import Provider, ThreadedProvider
from sidecar.recorder.journal.connection import connect
from tests.conftest import StartBridge
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import Connection, ask, asking, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, FIRST, PROMPT, pieces, streamed, whole
from tests.e2e.recorded import sessions
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

LOCKED = 10.0  # seconds
USUAL = {"start_commit_timeout": 2.0, "end_commit_timeout": 1.0}  # far less than that


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another writer's transaction, for as long as this lasts."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def timer(seconds: float, passed: threading.Event) -> Iterator[None]:
    """Sets `passed` after so many seconds."""
    thread = threading.Timer(seconds, passed.set)
    thread.start()
    yield
    thread.cancel()
    thread.join()


def test_a_commit_is_one_that_waits_for_the_disk(shared: Bridge) -> None:
    """In WAL mode that is FULL: NORMAL syncs at checkpoints alone (https://sqlite.org/pragma.html#pragma_synchronous)."""
    with closing(connect(shared.database)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_start_is_on_record_before_the_provider_hears_of_the_request(tmp_path: Path, case: str) -> None:
    """Every one of them: who reads the file at that moment finds it, its prompt included."""
    found: list[list[tuple[str | None, str | None]]] = []

    def look(seen: Seen) -> Answer:
        interceptions = (one.interception for one in sessions(tmp_path / "records.db", seen.case))
        found.append([(row["open_prompt"], row["ended_at"]) for row in interceptions])
        return whole(seen.case)

    with ThreadedProvider(Provider(look)) as provider, bridge(tmp_path, provider.url) as running:
        for number in range(20):
            ask(running.port, f"{case}-{number}", ASKED)
        assert running.stop() == 0
    assert found == [[(PROMPT, None)]] * 20


def test_an_end_is_on_record_before_the_client_has_read_the_last_byte(
    shared: Bridge, script: Script, case: str
) -> None:
    for number in range(50):
        name = f"{case}-{number}"
        script[name] = streamed(name) if number % 2 else whole(name)
        assert ask(shared.port, name, ASKED_STREAM if number % 2 else ASKED).whole
        assert shared.session(name).ended == ("completed", None, 200)


def test_ten_seconds_of_a_locked_journal_lose_nothing_and_cut_nothing(
    start_bridge: StartBridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """What runs goes on and is recorded later; what is new cannot be recorded and so is refused."""
    running, new = start_bridge(limits=USUAL), f"{case}-new"
    script[new] = whole(new)
    names = [f"{case}-{number}" for number in range(5)]
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(running.port)) for _ in names]
        for name, connection in zip(names, connections, strict=True):
            script[name] = streamed(name, hold=1)
            connection.send(request(name, ASKED_STREAM))
            connection.head()
            connection.until(FIRST)
        stack.enter_context(locked(running.database))
        passed = threading.Event()
        stack.enter_context(timer(LOCKED, passed))
        for name, connection in zip(names, connections, strict=True):
            provider.release(name)
            assert connection.rest() == (b"".join(pieces(name)[1:]), True)
        refused = 0
        while not passed.is_set():
            response = ask(running.port, new, ASKED)
            assert (response.status, response.json()["message"]) == (500, "failed to record interception")
            refused += 1
        assert [running.sessions(name)[0].ended for name in names] == [(None, None, None)] * len(names)
    assert new not in provider.seen
    for name in names:
        recorded = running.ending(name)
        assert recorded.ended == ("completed", None, 200)
        assert recorded.asked == [(f"resp_{name}", PROMPT)]
        assert [row["output_tokens"] for row in recorded.tokens] == [3]
    ends = [("failed", "rejected", 500)] * refused
    eventually(lambda: [one.ended for one in running.sessions(new)] == ends, "the end of what was refused")
    assert ask(running.port, new, ASKED).status == 200
    assert running.stop() == 0


def test_a_bridge_that_stops_while_its_journal_is_locked_writes_what_it_can_in_time(
    start_bridge: StartBridge, script: Script, case: str
) -> None:
    """It ends within its bound; what could not be written then is ended as lost at the next start."""
    running = start_bridge()
    script[case] = whole(case)
    assert ask(running.port, case, ASKED).status == 200
    with locked(running.database):
        assert running.stop() == 0
    assert running.session(case).ended == ("completed", None, 200)


def test_a_stream_and_a_locked_journal_together_do_not_keep_it(
    start_bridge: StartBridge, script: Script, case: str
) -> None:
    """Waiting for the one leaves less time to wait for the other."""
    running = start_bridge(limits=USUAL)
    script[case] = streamed(case, hold=1)
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        with locked(running.database):
            assert running.stop() == 0
    assert [one.ended for one in running.sessions(case)] == [(None, None, None)]
    second = start_bridge(ports=(running.port, running.admin))
    assert second.session(case).ended == ("failed", "lost", None)
    assert second.session(case).asked == [("", PROMPT)]
    assert second.stop() == 0


@pytest.mark.parametrize("content", [b"not a database, whatever it is", b""])
def test_a_file_that_is_there_already_is_taken_only_if_it_can_be(
    start_bridge: StartBridge, tmp_path: Path, content: bytes
) -> None:
    """An empty file is a new journal; another program's is left alone."""
    (tmp_path / "records.db").write_bytes(content)
    if not content:
        assert start_bridge().stop() == 0
        return
    with pytest.raises(AssertionError, match="file is not a database"):
        start_bridge()
    assert (tmp_path / "records.db").read_bytes() == content
