from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from sidecar.recorder import pages as paging
from sidecar.recorder import reading
from sidecar.recorder.pages import Object, extent, pages
from tests import stores
from tests.recorder import journal_samples as samples
from tests.stores import Database, interception, opened, prompt, thought, tokens, tool

SAME, LATER = "2001-09-09T01:46:40.250000Z", "2001-09-10T00:00:00.000000Z"


@pytest.fixture(params=stores.KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with stores.database(request, tmp_path) as database:
        yield database


def read(database: Database, since: date | None = None, until: date | None = None) -> list[list[Object]]:
    """The interceptions of each page."""
    with reading.store(database.settings) as engine:
        known = extent(engine, since, until)
        found = [page.interceptions for page in pages(engine, known)]
    assert known.count == sum(map(len, found))
    return found


def ids(found: list[list[Object]]) -> list[list[str]]:
    return [[one["id"] for one in page] for page in found]


def test_an_interception_has_its_columns_and_what_belongs_to_it(database: Database) -> None:
    """Times as in SQLite's tables, JSON and truth as such; what belongs to it in the order of its making."""
    children = [prompt(id="p"), tokens(id="u2"), tokens(id="u1"), tool(id="t"), thought(id="m", created_at=LATER)]
    database.holds(interception("1", *children, thought(id="n")))
    row = {**samples.ENDED_ROW, "id": "1", "actor_metadata": {"team": "blue"}, "streaming": True}
    del row["open_prompt"]
    usage = {**samples.TOKENS_ROW, "interception_id": "1", "extra": {"total_tokens": 37}}
    said = {**samples.THOUGHT_ROW, "interception_id": "1"}
    assert read(database) == [
        [
            row
            | {
                "prompts": [{**samples.PROMPT_ROW, "id": "p", "interception_id": "1"}],
                "token_usages": [{**usage, "id": "u1"}, {**usage, "id": "u2"}],
                "tool_usages": [{**samples.TOOL_ROW, "id": "t", "interception_id": "1", "injected": False}],
                "model_thoughts": [{**said, "id": "n"}, {**said, "id": "m", "created_at": LATER}],
            }
        ]
    ]


def test_an_open_interception_has_its_prompt_all_the_same(database: Database) -> None:
    database.holds(opened("1"), opened("2", open_prompt=None))
    ((first, second),) = read(database)
    assert "open_prompt" not in first
    assert first["prompts"] == [
        {"id": None, "interception_id": "1", "msg_id": "", "prompt": "hello", "created_at": SAME}
    ]
    assert second["prompts"] == []


@pytest.mark.parametrize("at_once", [1, 2, 5, 6])
def test_pages_meet_without_a_gap(database: Database, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Also where several started in the same microsecond."""
    monkeypatch.setattr(paging, "AT_ONCE", at_once)
    database.holds(*(interception(name, prompt(prompt=name)) for name in "cabde"))
    database.holds(interception("0", started_at=LATER))
    found = read(database)
    assert [name for page in ids(found) for name in page] == ["a", "b", "c", "d", "e", "0"]
    assert {len(page) for page in found[:-1]} <= {at_once}
    assert [one["prompts"][0]["prompt"] for page in found for one in page if one["prompts"]] == list("abcde")


def test_long_texts_make_short_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on the memory; what is longer by itself still comes, alone."""
    monkeypatch.setattr(paging, "BYTES", 5_000)
    database.holds(*(interception(name, prompt(prompt="x" * 1_500)) for name in "abcd"))
    database.holds(interception("e", prompt(prompt="x" * 9_000)), interception("f"), interception("g"))
    assert ids(read(database)) == [["a"], ["b", "c"], ["d"], ["e"], ["f", "g"]]


def test_only_what_started_on_the_days_is_read(database: Database) -> None:
    database.holds(interception("1"), interception("2", started_at=LATER))
    assert ids(read(database, since=date(2001, 9, 10))) == [["2"]]
    assert ids(read(database, until=date(2001, 9, 9))) == [["1"]]
    assert ids(read(database, date(2001, 9, 11))) == []


def test_what_starts_meanwhile_is_left_out(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else reading beside busy traffic might never end."""
    monkeypatch.setattr(paging, "AT_ONCE", 1)
    database.holds(interception("1"), interception("2"))
    with reading.store(database.settings) as engine:
        found = pages(engine, extent(engine, None, None))
        assert [one["id"] for one in next(found).interceptions] == ["1"]
        database.holds(interception("3", started_at=LATER))
        assert [one["id"] for page in found for one in page.interceptions] == ["2"]


def test_what_is_deleted_meanwhile_is_missed_by_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "AT_ONCE", 1)
    database.holds(*(interception(name) for name in "123"))
    with reading.store(database.settings) as engine:
        found = pages(engine, extent(engine, None, None))
        assert [one["id"] for one in next(found).interceptions] == ["1"]
        database.run("DELETE FROM interceptions WHERE id IN ('1', '3')")
        assert [one["id"] for page in found for one in page.interceptions] == ["2"]


def test_between_pages_nothing_is_held(database: Database) -> None:
    """A reader that stays would keep SQLite's log, and PostgreSQL's dead rows and old partitions, for as long."""
    database.holds(interception("1"), interception("2"))
    with reading.store(database.settings) as engine:
        found = pages(engine, extent(engine, None, None))
        next(found)
        database.holds(interception("3"))
        if database.settings.recorder.kind == "sqlite":
            assert database.run("PRAGMA wal_checkpoint(TRUNCATE)") == [(0, 0, 0)]
        else:
            held = "datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
            assert database.run(f"SELECT query FROM pg_stat_activity WHERE {held}") == []  # noqa: S608 - a test's
        found.close()
