import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.errors import JournalUnavailable
from sidecar.core.records import Ended, ErrorType, Failure, Prompt
from sidecar.recorder.journal.owners import owning
from sidecar.recorder.journal.recovery import ANY, END, FIND, abandoned, end_lost
from sidecar.recorder.rows import Stored, row
from tests.recorder import journal_samples as samples

AT = 1_000_000_003.0
LOST_ROW = samples.STARTED_ROW | {
    "ended_at": "2001-09-09T01:46:43.000000Z",
    "status": "failed",
    "error_type": "lost",
    "error_message": "the worker was lost before the interception ended",
    "open_prompt": None,
}
LOST = Failure(type=ErrorType.LOST, message="the worker was lost before the interception ended")


def lost(interception: str = "i-1") -> Ended:
    return Ended(interception=interception, at=AT, failure=LOST, http_status=None, provider_request_id=None)


def write(database: Path, worker: str, *records: Stored) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for record in records:
            made = row(record, f"row of {worker}", worker)
            connection.execute(made.statement.sql, made.values)


def still_open(database: Path) -> list[str]:
    return [
        str(name) for (name,) in samples.select(database, "SELECT worker FROM interceptions WHERE ended_at IS NULL")
    ]


def test_nothing_ends_before_it_started(database: Path) -> None:
    """The clock may have been set back since."""
    write(database, samples.WORKER, samples.started())
    end_lost(database, [samples.WORKER], at=0.0, new_id=samples.numbered())
    (row,) = samples.table(database, "interceptions")
    assert row == LOST_ROW | {"ended_at": row["started_at"]}


def test_what_a_crash_left_open_ends_as_lost_and_keeps_its_prompt(database: Path) -> None:
    write(database, samples.WORKER, samples.started())
    assert end_lost(database, [samples.WORKER], at=AT, new_id=samples.numbered()) == (
        Prompt(interception="i-1", at=AT, msg_id="", text="hello"),
        lost(),
    )
    assert samples.table(database, "interceptions") == [LOST_ROW]
    assert samples.table(database, "user_prompts") == [
        {
            "id": "id-0001",
            "interception_id": "i-1",
            "msg_id": "",
            "prompt": "hello",
            "created_at": "2001-09-09T01:46:43.000000Z",
        }
    ]


def test_an_empty_prompt_is_a_prompt(database: Path) -> None:
    write(database, samples.WORKER, samples.started(prompt=""))
    said = end_lost(database, [samples.WORKER], at=AT, new_id=samples.numbered())
    assert said == (Prompt(interception="i-1", at=AT, msg_id="", text=""), lost())
    assert samples.select(database, "SELECT prompt FROM user_prompts") == [("",)]


def test_no_prompt_stays_none(database: Path) -> None:
    write(database, samples.WORKER, samples.started(prompt=None))
    assert end_lost(database, [samples.WORKER], at=AT, new_id=samples.numbered()) == (lost(),)
    assert samples.table(database, "user_prompts") == []


def test_what_has_ended_stays_as_it_is(database: Path) -> None:
    write(database, samples.WORKER, samples.started(), samples.ended())
    assert end_lost(database, [samples.WORKER], at=AT, new_id=samples.numbered()) == ()
    assert samples.table(database, "interceptions") == [samples.ENDED_ROW]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25, deadline=None
)
@given(st.sets(st.text(alphabet="a:;_%1\"'", max_size=3), max_size=5), st.data())
def test_only_these_workers_lose_theirs(database: Path, workers: set[str], data: st.DataObject) -> None:
    """Names are compared as they are, not as patterns."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM interceptions")
    for worker in workers:
        write(database, worker, samples.started(interception=worker, prompt=None))
    gone = data.draw(st.sets(st.sampled_from(sorted(workers) or ["a"])))
    said = end_lost(database, gone, at=AT, new_id=samples.numbered())
    assert sorted(said, key=lambda one: one.interception) == [lost(worker) for worker in sorted(gone & workers)]
    assert set(still_open(database)) == workers - gone


def test_where_nothing_is_open_nobody_is_waited_for(database: Path) -> None:
    """A stop must not take longer because somebody else writes."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert end_lost(database, [samples.WORKER], at=AT, new_id=samples.numbered(), patience=0) == ()
        other.execute("ROLLBACK")


def test_a_journal_that_somebody_else_locks_is_told(database: Path) -> None:
    write(database, samples.WORKER, samples.started())
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailable, match="database is locked"):
            end_lost(database, [samples.WORKER], at=AT, new_id=samples.numbered(), patience=0)
        other.execute("ROLLBACK")


def test_abandoned_are_workers_with_something_open_whose_owner_is_gone(database: Path) -> None:
    """Whatever their host and address were: the journal may have been taken elsewhere."""
    for worker in ("here:127.0.0.1:1:aaaa:0", "here:127.0.0.1:1:bbbb:0", "there:[::1]:2:cccc:1", "host:127.0.0.1:1:0"):
        write(database, worker, samples.started(interception=worker), samples.started(interception=f"{worker}, again"))
    write(database, "here:127.0.0.1:1:dddd:0", samples.started(), samples.ended())
    with owning(database, "aaaa"):
        assert sorted(abandoned(database)) == ["here:127.0.0.1:1:bbbb:0", "host:127.0.0.1:1:0", "there:[::1]:2:cccc:1"]
    assert "here:127.0.0.1:1:aaaa:0" in abandoned(database)


def test_the_search_reads_only_what_is_open(database: Path) -> None:
    """A start must not take longer because the journal is long."""
    with closing(sqlite3.connect(database)) as connection:
        for statement in (ANY, FIND, END):
            values = {"workers": "[]", "at": "", "type": "", "message": ""}
            plan = " ".join(str(line[3]) for line in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))
            assert "ix_interceptions_worker_open" in plan
            assert "SCAN interceptions" not in plan


def test_it_is_all_or_nothing(database: Path) -> None:
    """An id that is taken leaves the prompt where it was: in the row of its interception, which stays open."""
    write(database, samples.WORKER, samples.started("a"), samples.started("b"))

    def failing() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        end_lost(database, [samples.WORKER], at=AT, new_id=failing)
    assert samples.select(database, "SELECT open_prompt FROM interceptions") == [("hello",), ("hello",)]
    assert samples.table(database, "user_prompts") == []


def test_a_journal_that_cannot_be_ended_is_told(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE user_prompts")
    write(database, samples.WORKER, samples.started())
    with pytest.raises(JournalUnavailable, match=r"journal\.db: no such table: user_prompts$"):
        end_lost(database, [samples.WORKER], at=AT, new_id=samples.numbered())


def test_a_missing_journal_is_told(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="there is no such file"):
        abandoned(tmp_path / "journal.db")
    with pytest.raises(JournalUnavailable, match="there is no such file"):
        end_lost(tmp_path / "journal.db", [samples.WORKER], at=AT, new_id=samples.numbered())
