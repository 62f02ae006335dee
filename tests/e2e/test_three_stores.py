"""The replay against each of the three stores: what SQLite holds in the end, the other two hold as well."""

from contextlib import ExitStack
from pathlib import Path

from examples.answers import Answer, pieces
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import ask
from tests.e2e.scripts import Script
from tests.e2e.services import ReturningService
from tests.e2e.stores import Tables, forwarded, in_postgres, in_sqlite, of, sessions, told
from tests.transcripts import Transcript, plays

CHUNK = 211  # bytes: no multiple of anything, so that chunks end wherever


def replay(running: Bridge, script: Script, case: str) -> list[str]:
    """Every situation in each way it exists, once; returns the sessions."""
    return [play(running, script, f"{case}-{number}", *one) for number, one in enumerate(plays())]


def play(running: Bridge, script: Script, name: str, transcript: Transcript, streaming: bool) -> str:  # noqa: FBT001 - what a transcript is played by
    answer = transcript.answer(streaming)
    script[name] = Answer(
        status=transcript.status,
        headers=(("x-request-id", f"req-{name}"),),
        content_type=transcript.content_type(streaming),
        body=pieces(answer, CHUNK) if streaming else answer,
    )
    response = ask(running.port, name, transcript.request(streaming), path=f"/openai/v1/{transcript.path}")
    assert (response.body, response.whole) == (answer, True)
    return name


def records(tables: Tables) -> dict[str, object]:
    """What is there, by session."""
    return {name: told(one) for name, one in sessions(tables).items()}


def test_the_same_replay_gives_the_same_rows_in_all_three_stores(  # noqa: PLR0913, PLR0917 - fixtures
    shared: Bridge, provider: ThreadedProvider, script: Script, fresh_database: str, disk: Path, case: str
) -> None:
    names = replay(shared, script, case)
    here = records(of(names, in_sqlite(shared.database).tables()))
    with ExitStack() as stack:
        service = stack.enter_context(ReturningService(disk / "service"))
        service.start()
        there = {"a": in_postgres(fresh_database), "b": in_sqlite(service.database, service.url)}
        for folder, store in there.items():
            (disk / folder).mkdir()
            recorder = store.recorder(disk / folder / "records.db")
            running = stack.enter_context(bridge(disk / folder, provider.url, recorder=recorder))
            replay(running, script, case)
            forwarded(running.database)
            assert records(store.tables()) == here
            assert running.stop() == 0
