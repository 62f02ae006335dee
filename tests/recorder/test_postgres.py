from collections.abc import Iterator
from contextlib import closing

import pytest

from sidecar.recorder.batches import TABLES, Batch
from sidecar.recorder.postgres.store import PostgresStore, migrate
from tests.postgres import execute
from tests.recorder import postgres_samples as samples

AS_STORED = {
    "interceptions": samples.ROWS["interceptions"]
    | {
        "actor_metadata": {"team": "blue"},
        "streaming": True,
        "started_at": samples.STARTED_AT,
        "ended_at": samples.ENDED_AT,
    },
    "user_prompts": samples.ROWS["user_prompts"] | {"created_at": samples.CREATED_AT},
    "token_usages": samples.ROWS["token_usages"] | {"created_at": samples.CREATED_AT, "extra": {"total_tokens": 37}},
    "tool_usages": samples.ROWS["tool_usages"] | {"created_at": samples.CREATED_AT, "injected": False},
    "model_thoughts": samples.ROWS["model_thoughts"] | {"created_at": samples.CREATED_AT},
}


@pytest.fixture
def url(fresh_database: str) -> str:
    migrate(samples.recorder(fresh_database))
    return fresh_database


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(samples.recorder(url))) as made:
        yield made


def test_every_value_arrives_as_its_columns_type(store: PostgresStore, url: str) -> None:
    assert store.put(samples.one_of_each()) == frozenset()
    assert {table: samples.found(url, table) for table in TABLES} == {table: [AS_STORED[table]] for table in TABLES}


def test_a_repeated_batch_changes_nothing(store: PostgresStore, url: str) -> None:
    """Not even the versions of the rows: a repeat must not cost the vacuum anything either."""
    versions = "SELECT tableoid, ctid, xmin FROM interceptions UNION ALL SELECT tableoid, ctid, xmin FROM user_prompts"
    store.put(samples.one_of_each())
    before = execute(url, versions)
    assert store.put(samples.one_of_each()) == frozenset()
    assert execute(url, versions) == before


def test_an_empty_batch_is_nothing(store: PostgresStore) -> None:
    assert store.put(Batch(rows={})) == frozenset()


def test_an_open_interception_is_ended_by_its_whole_row(store: PostgresStore, url: str) -> None:
    store.put(Batch(rows={"interceptions": [samples.values("interceptions", samples.OPEN)]}))
    assert samples.found(url, "interceptions")[0]["open_prompt"] == "hello"
    store.put(samples.one_of_each())
    assert samples.found(url, "interceptions") == [AS_STORED["interceptions"]]


def test_an_open_interception_is_ended_by_an_end(store: PostgresStore, url: str) -> None:
    store.put(Batch(rows={"interceptions": [samples.values("interceptions", samples.OPEN)]}))
    assert store.put(Batch(rows={}, ends=[samples.end()])) == frozenset()
    assert samples.found(url, "interceptions") == [AS_STORED["interceptions"]]


def test_an_end_without_its_interception_is_unfit(store: PostgresStore, url: str) -> None:
    """It would end nothing, however often it came."""
    store.put(Batch(rows={"interceptions": [samples.values("interceptions", samples.OPEN)]}))
    assert store.put(Batch(rows={}, ends=[samples.end(), samples.end("i-2")])) == {"i-2"}
    assert samples.found(url, "interceptions") == [AS_STORED["interceptions"]]


def test_a_row_and_its_end_may_come_together(store: PostgresStore, url: str) -> None:
    opened = samples.values("interceptions", samples.OPEN)
    store.put(Batch(rows={"interceptions": [opened]}, ends=[samples.end()]))
    assert samples.found(url, "interceptions") == [AS_STORED["interceptions"]]


def test_an_open_row_and_a_whole_one_may_come_together(store: PostgresStore, url: str) -> None:
    """PostgreSQL refuses to change a row twice in one statement."""
    both = [samples.values("interceptions", samples.OPEN), samples.row("interceptions")]
    store.put(Batch(rows={"interceptions": [samples.row("interceptions", id="i-0"), *both]}))
    assert samples.found(url, "interceptions") == [{**AS_STORED["interceptions"], "id": f"i-{n}"} for n in range(2)]


@pytest.mark.parametrize("late", [{"status": "failed"}, {"ended_at": None, "status": None, "open_prompt": "again"}])
def test_what_has_ended_stays_as_it_is(store: PostgresStore, url: str, late: dict[str, object]) -> None:
    store.put(samples.one_of_each())
    store.put(Batch(rows={"interceptions": [samples.row("interceptions", **late)]}))
    assert samples.found(url, "interceptions") == [AS_STORED["interceptions"]]


def test_an_end_comes_once(store: PostgresStore, url: str) -> None:
    store.put(samples.one_of_each())
    other = ("2001-09-10T00:00:00.000000Z", "failed", "server_error", "no", 500, None, "i-1")
    assert store.put(Batch(rows={}, ends=[other])) == frozenset()
    assert samples.found(url, "interceptions") == [AS_STORED["interceptions"]]


@pytest.mark.parametrize("text", ["a\x00b", "lone \ud800 surrogate"])
def test_text_that_postgresql_cannot_hold_costs_no_neighbour(store: PostgresStore, url: str, text: str) -> None:
    assert store.put(samples.prompts("one", text, "three", "four", text)) == {"p-1", "p-4"}
    assert samples.ids(url, "user_prompts") == ["p-0", "p-2", "p-3"]


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("token_usages", {"input_tokens": 2**63}),
        ("token_usages", {"input_tokens": None}),
        ("token_usages", {"extra": '{"a\\u0000": 1}'}),
        ("token_usages", {"created_at": "soon"}),
        ("token_usages", {"created_at": "9999-12-31T00:00:00.000000Z"}),
        ("interceptions", {"http_status": 2**31}),
        ("interceptions", {"actor_metadata": "{"}),
        ("interceptions", {"initiator_id": "".join(chr(0x4E00 + n) for n in range(8000))}),
    ],
)
def test_a_value_of_no_use_costs_its_row_alone(
    store: PostgresStore, url: str, table: str, changed: dict[str, object]
) -> None:
    """Too large, missing, no JSON, no moment, a month that no calendar has, more than an index takes."""
    rows = [samples.row(table, id="x-0"), samples.row(table, id="x-1", **changed), samples.row(table, id="x-2")]
    thought = samples.row("model_thoughts")
    assert store.put(Batch(rows={table: rows, "model_thoughts": [thought]})) == {"x-1"}
    assert samples.ids(url, table) == ["x-0", "x-2"]
    assert samples.ids(url, "model_thoughts") == [thought[0]]


def test_an_end_of_no_use_costs_no_other(store: PostgresStore, url: str) -> None:
    opened = [samples.values("interceptions", samples.OPEN | {"id": name}) for name in ("i-1", "i-2")]
    store.put(Batch(rows={"interceptions": opened}))
    assert store.put(Batch(rows={}, ends=[("soon", *samples.end()[1:]), samples.end("i-2")])) == {"i-1"}
    assert [one["ended_at"] for one in samples.found(url, "interceptions")] == [None, samples.ENDED_AT]


def test_text_comes_back_as_it_went(store: PostgresStore, url: str) -> None:
    """Whatever arrays, quotes and formats mean to somebody on the way."""
    texts = [
        "",
        "NULL",
        '{"a","b"}',
        "'; DROP TABLE user_prompts; --",
        "\\",
        "%s %b",
        "\n\t\x01\x7f\u2028",
        "日本語 🙂",
    ]
    assert store.put(samples.prompts(*texts)) == frozenset()
    assert [one["prompt"] for one in samples.found(url, "user_prompts")] == texts


def test_two_stores_may_put_the_same(store: PostgresStore, url: str) -> None:
    with closing(PostgresStore(samples.recorder(url))) as other:
        for each in (store, other):
            each.put(samples.one_of_each())
    assert {table: len(samples.ids(url, table)) for table in TABLES} == dict.fromkeys(TABLES, 1)


def test_what_was_put_is_durable_whatever_the_server_is_set_to(fresh_database: str) -> None:
    """The journal forgets what was acknowledged: at that moment the transaction has to be on the server's disk."""
    name = fresh_database.rpartition("/")[2]
    execute(fresh_database, f"ALTER DATABASE {name} SET synchronous_commit = off")
    migrate(samples.recorder(fresh_database))
    execute(fresh_database, "CREATE TABLE seen (setting text)")
    note = "INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL;"
    execute(fresh_database, f"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {note} END $$")
    execute(fresh_database, "CREATE TRIGGER note AFTER INSERT ON user_prompts EXECUTE FUNCTION note()")
    with closing(PostgresStore(samples.recorder(fresh_database))) as store:
        store.put(samples.one_of_each())
    assert execute(fresh_database, "SELECT setting FROM seen") == [("on",)]


def test_closing_twice_is_no_harm(store: PostgresStore, url: str) -> None:
    store.put(samples.one_of_each())
    store.close()
    store.close()
    store.put(samples.prompts("once more"))
    assert len(samples.ids(url, "user_prompts")) == 2
