"""Dumps of exchanges as they lie on the disk, while they come and where the disk is full."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.answers import Answer
from examples.events import sse
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import ask, asking
from tests.e2e.exchanges import ASKED, ASKED_STREAM, EVENT_STREAM, FIRST, LAST, pieces, streamed, whole
from tests.e2e.scripts import Script
from tests.e2e.test_disk_trouble import full
from tests.e2e.waiting import eventually

ROOM = 2_097_152  # bytes of a file: the journal has less
DELTAS = [sse({"type": "response.output_text.delta", "delta": f"canary-{at}-{'x' * 100_000}"}) for at in range(30)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    folder = tmp_path_factory.mktemp("dumping")
    dump = {"dir": str(folder / "dumps"), "max_file_bytes": 2 * ROOM}
    with bridge(folder, provider.url, dump=dump) as started:
        yield started
        assert started.stop() == 0


def response(running: Bridge, case: str) -> Path:
    """Where the response's dump is, or will be."""
    (one,) = running.sessions(case)
    return running.folder / "dumps/openai/aster-2" / f"{one.interception['id']}.response.txt"


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def told(running: Bridge) -> list[str]:
    """What is said of dumps."""
    lines = [json.loads(line)["event"] for line in running.output.splitlines() if line.startswith("{")]
    return [line for line in lines if "dumps" in line]


def test_a_dump_shows_a_stream_s_beginning_before_its_end(
    running: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = streamed(case, hold=1)
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        path = response(running, case)
        eventually(lambda: "response.created" in text(path), "the beginning")
        assert "response.completed" not in text(path)
        beginning = text(path)
        provider.release(case)
        assert connection.rest()[1] is True
    eventually(lambda: "response.completed" in text(path), "the end")
    assert text(path).startswith(beginning)


def test_a_dump_that_a_full_disk_cuts_stays_cut_disturbs_nobody_and_is_told_of_once(
    running: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """What goes on with a piece missing would mislead; others are dumped whole as soon as there is room."""
    first, *rest = pieces(case)
    script[case] = Answer(content_type=EVENT_STREAM, body=(first, *DELTAS, *rest), hold=1 + len(DELTAS))
    (worker,) = running.workers()
    with asking(running.port, case, ASKED_STREAM) as connection:
        with full(worker, ROOM):
            connection.head()
            connection.until(DELTAS[-1][:100])
            eventually(lambda: told(running), "a warning")
        provider.release(case)
        body, is_whole = connection.rest()
        assert (is_whole, LAST in body) == (True, True)
    assert running.ending(case).ended == ("completed", None, 200)
    after = f"{case}-after"
    script[after] = whole(after)
    assert ask(running.port, after, ASKED).status == 200
    eventually(lambda: text(response(running, after)).endswith("}\n"), "a dump after it")
    assert response(running, case).stat().st_size == ROOM
    assert told(running) == ["dumps cannot be written, they are left out", "dumps are written again"]
    assert "canary" not in running.output
