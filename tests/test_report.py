import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace
from rich.console import Console

from sidecar.core.errors import BadSetting, JournalUnavailable
from sidecar.core.records import CredentialKind, Ended, ErrorType, Failure, Started, Tokens, Tool
from sidecar.recorder import reading
from sidecar.recorder.batches import Store, StoreUnavailable
from sidecar.recorder.journal.migration import migrate
from sidecar.recorder.postgres import store as postgres
from sidecar.recorder.postgres.store import PostgresStore
from sidecar.recorder.rows import Stored, row
from sidecar.recorder.service.remote import RemoteStore
from sidecar.recorder.sqlite_store import SqliteStore
from sidecar.recorder.usage import MOST, Prices, Usage, prices
from sidecar.recorder.usage.sums import GROUPINGS
from sidecar.report import Report, table, totals
from sidecar.settings import Recorder, Settings
from tests.services import service
from tests.stores import interception, opened, tokens, tool

FIRST_DAY, SECOND_DAY = 1_000_000_000.0, 1_000_080_000.0  # 2001-09-09 01:46:40 and 2001-09-10 00:00:00, UTC

STARTED = Started(
    interception="1",
    at=FIRST_DAY,
    initiator="alice",
    actor_metadata={},
    provider="openai",
    provider_name="openai",
    model="gpt-5",
    streaming=True,
    client="Codex",
    client_session=None,
    user_agent=None,
    correlating_tool_call=None,
    credential_kind=CredentialKind.CENTRALIZED,
    credential_hint="...",
    request_path="/openai/v1/responses",
    request_id=None,
    prompt=None,
    read_at=FIRST_DAY,
)
TOKENS = Tokens(
    interception="1",
    at=FIRST_DAY,
    msg_id="",
    input=100,
    output=20,
    cache_read=3,
    cache_write=4,
    extra={},
    provider_model=None,
    service_tier=None,
)
TOOL = Tool(
    interception="1",
    at=FIRST_DAY,
    msg_id="",
    item_id=None,
    tool_call_id=None,
    kind="function_call",
    name="f",
    input=None,
)
ENDED = Ended(interception="1", at=FIRST_DAY, failure=None, http_status=200, provider_request_id=None)
FAILURE = Failure(type=ErrorType.SERVER_ERROR, message="the provider answered 500")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    migrate(tmp_path / "journal.db")
    return tmp_path / "journal.db"


def at(database: Path) -> Settings:
    return Settings(recorder=Recorder(url=f"sqlite:///{database}"))


def write(database: Path, *records: Stored) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for number, record in enumerate(records):
            made = row(record, f"{record.interception}/{number}", "w")
            connection.execute(made.statement.sql, made.values)


@pytest.fixture
def busy(database: Path) -> Path:
    """Alice twice on the first day, with two tools and a failure; Bob once on the second, not yet at the end."""
    write(database, STARTED, TOKENS, TOOL, TOOL, ENDED)
    write(database, replace(STARTED, interception="2", client="Zed"), replace(ENDED, interception="2", failure=FAILURE))
    write(database, replace(STARTED, interception="3", at=SECOND_DAY, initiator="bob", model="gpt-5-mini"))
    return database


PRICES = Prices(source=prices.source(), date=prices.date())


def usage(name: str, interceptions: int, failed: int = 0, still_open: int = 0, *, used: bool = False) -> Usage:
    return {
        "name": name,
        "interceptions": interceptions,
        "failed": failed,
        "open": still_open,
        "input_tokens": 100 if used else 0,
        "output_tokens": 20 if used else 0,
        "cache_read_input_tokens": 3 if used else 0,
        "cache_write_input_tokens": 4 if used else 0,
        "tool_calls": 2 if used else 0,
        "cost": "0.000330375" if used else "0",
        "unpriced": 0,
    }


def test_usage_is_counted_by_actor_model_client_and_day(busy: Path) -> None:
    assert totals(at(busy)) == {
        "since": None,
        "until": None,
        "total": usage("", 3, 1, 1, used=True),
        "actor": [usage("alice", 2, 1, 0, used=True), usage("bob", 1, 0, 1)],
        "model": [usage("gpt-5", 2, 1, 0, used=True), usage("gpt-5-mini", 1, 0, 1)],
        "client": [usage("Codex", 2, 0, 1, used=True), usage("Zed", 1, 1)],
        "day": [usage("2001-09-09", 2, 1, 0, used=True), usage("2001-09-10", 1, 0, 1)],
        "prices": PRICES,
    }


def test_an_empty_journal_adds_up_to_nothing(database: Path) -> None:
    assert totals(at(database)) == {
        "since": None,
        "until": None,
        "total": usage("", 0),
        "actor": [],
        "model": [],
        "client": [],
        "day": [],
        "prices": PRICES,
    }


def test_two_usages_of_one_interception_count_it_once(database: Path) -> None:
    write(database, STARTED, TOKENS, TOKENS, TOOL)
    found = totals(at(database))["total"]
    assert (found["interceptions"], found["input_tokens"], found["tool_calls"]) == (1, 200, 1)


@pytest.mark.parametrize(
    ("since", "until", "names"),
    [
        (None, "2001-09-09", ["alice"]),
        ("2001-09-10", None, ["bob"]),
        ("2001-09-09", "2001-09-10", ["alice", "bob"]),
        ("2001-09-10", "2001-09-10", ["bob"]),
        ("2001-09-11", "9999-12-31", []),
    ],
)
def test_both_days_of_a_span_are_included(busy: Path, since: str | None, until: str | None, names: list[str]) -> None:
    assert [line["name"] for line in totals(at(busy), since, until)["actor"]] == names


def test_the_span_is_named_in_the_answer(busy: Path) -> None:
    found = totals(at(busy), "2001-09-09", "2001-09-10")
    assert (found["since"], found["until"]) == ("2001-09-09", "2001-09-10")


def test_an_absurd_count_costs_nobody_the_report(database: Path) -> None:
    """Two of the largest integers have no sum in 64 bits."""
    most = 2**63 - 1
    write(database, STARTED, replace(TOKENS, input=most), replace(TOKENS, input=most))
    found = totals(at(database))["total"]
    assert (found["input_tokens"], found["output_tokens"]) == (most, 40)


@pytest.mark.parametrize("setting", ["since", "until"])
def test_what_is_no_day_is_told(database: Path, setting: str) -> None:
    with pytest.raises(BadSetting) as caught:
        totals(at(database), **{setting: "yesterday"})
    assert str(caught.value) == f"{setting} = 'yesterday': expected a day, YYYY-MM-DD"


def test_a_span_that_ends_before_it_begins_is_told(database: Path) -> None:
    with pytest.raises(BadSetting) as caught:
        totals(at(database), "2001-09-10", "2001-09-09")
    assert str(caught.value) == "until = 2001-09-09: expected a day not before since = 2001-09-10"


def test_a_missing_journal_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match=r"journal\.db: there is no such file$"):
        totals(at(tmp_path / "journal.db"))
    assert list(tmp_path.iterdir()) == []


def test_another_programs_database_is_told(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(JournalUnavailable, match=r"other\.db: not a journal of ours$"):
        totals(at(tmp_path / "other.db"))


def test_a_journal_whose_tables_are_gone_is_told(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE token_usages")
    with pytest.raises(JournalUnavailable, match=r"journal\.db: no such table: token_usages$"):
        totals(at(database))


def test_the_report_does_not_wait_for_a_writer(busy: Path) -> None:
    """It sees what was committed."""
    with closing(sqlite3.connect(busy, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM interceptions")
        assert totals(at(busy))["total"]["interceptions"] == 3


def test_the_report_is_json(busy: Path) -> None:
    assert json.loads(json.dumps(totals(at(busy)))) == totals(at(busy))


def shown(database: Path, width: int = 140) -> str:
    return shown_as(totals(at(database)), width)


def shown_as(report: Report, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table(report))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line[1:-1].split("│")] for line in table.splitlines() if line[0] == "│"]


def test_the_table_shows_every_grouping_and_the_whole(busy: Path) -> None:
    used = ["100", "20", "3", "4", "2", "$0.0003"]
    whole = ["total", "3", "1", "1", *used]
    nothing = [*["0"] * 5, "$0.00"]
    assert cells(shown(busy)) == [
        ["alice", "2", "1", "0", *used],
        ["bob", "1", "0", "1", *nothing],
        whole,
        ["gpt-5", "2", "1", "0", *used],
        ["gpt-5-mini", "1", "0", "1", *nothing],
        whole,
        ["Codex", "2", "0", "1", *used],
        ["Zed", "1", "1", "0", *nothing],
        whole,
        ["2001-09-09", "2", "1", "0", *used],
        ["2001-09-10", "1", "0", "1", *nothing],
        whole,
    ]


def test_the_columns_say_what_they_count(busy: Path) -> None:
    heading = shown(busy).splitlines()[1]
    assert [cell.strip() for cell in heading[1:-1].split("┃")] == [
        "actor",
        "interceptions",
        "failed",
        "open",
        "input",
        "output",
        "cache read",
        "cache write",
        "tool calls",
        "cost",
    ]


def test_a_cost_that_is_not_known_is_told_as_such(database: Path) -> None:
    """Beside what is known, or alone; and whose prices they are."""
    for name, model in (("1", "gpt-5"), ("2", "nonesuch")):
        many = replace(TOKENS, interception=name, input=10_000_000)
        write(database, replace(STARTED, interception=name, initiator=f"{model}'s", model=model), many)
    told = shown(database)
    costs = {line[0]: line[-1] for line in cells(told)}
    assert (costs["gpt-5"], costs["nonesuch"], costs["total"]) == ("$12.50", "unknown", "$12.50 + unknown")
    assert told.splitlines()[-1] == (
        f"Costs in US dollars by the prices of {prices.source()}, checked up to {prices.date()}; "
        "unknown where it has none."
    )


def test_a_service_that_tells_no_costs_is_told_of(busy: Path) -> None:
    """One that is older than they are: nothing is not what it all costs."""
    found = totals(at(busy))
    old = {grouping: [line | {"cost": None, "unpriced": None} for line in found[grouping]] for grouping in GROUPINGS}
    silent = found | old | {"total": found["total"] | {"cost": None, "unpriced": None}, "prices": None}
    table = shown_as(cast("Report", silent))
    assert "$" not in table
    assert {line[-1] for line in cells(table)} == {"unknown"}
    assert table.splitlines()[-1] == "Costs are unknown: the Recorder service tells none."


def test_no_number_is_cut_short(busy: Path) -> None:
    """Not even on a narrow terminal: half of an amount is another amount."""
    write(busy, replace(STARTED, interception="4"), replace(TOKENS, interception="4", input=10**9))
    assert "…" not in shown(busy, width=60)


def test_a_name_cannot_steer_the_terminal(database: Path) -> None:
    """Names come from headers and bodies of others: neither escape sequences nor markup take effect."""
    write(database, replace(STARTED, initiator="\x1b[31mred", model="[bold]x[/bold]", client="a\u202eb"))
    found = shown(database)
    assert "\x1b" not in found
    assert "\u202e" not in found
    assert "\ufffd[31mred" in found
    assert "[bold]x[/bold]" in found


@pytest.fixture
def forwarding(tmp_path: Path, fresh_database: str) -> Settings:
    """To an empty PostgreSQL, from a journal that is not there yet."""
    recorder = Recorder(url=fresh_database, journal=tmp_path / "forwarded.db")
    postgres.migrate(recorder)
    return Settings(runtime_dir=tmp_path / "run", recorder=recorder)


BATCHES = (
    interception("1", tokens(), tokens(input_tokens=MOST), tool()),
    interception("2", tokens(provider_model="gpt-5"), initiator_id="bob", status="failed"),
    opened("3", started_at="2001-09-10T00:00:00.000000Z"),
)


def test_every_store_reports_the_same(tmp_path: Path, database: Path, forwarding: Settings) -> None:
    """A file, PostgreSQL, and the Recorder service, which answers for a file of its own."""
    with service(tmp_path / "service", f"sqlite:///{tmp_path}/service.db") as running:
        asking = Settings(runtime_dir=tmp_path / "asking" / "run", recorder=running.client())
        stores: list[Store] = [
            SqliteStore(database),
            PostgresStore(forwarding.recorder),
            RemoteStore(asking.recorder),
        ]
        for store in stores:
            for batch in BATCHES:
                assert store.put(batch) == frozenset()
            store.close()
        found = [totals(settings, "2001-09-09", "2001-09-10") for settings in (at(database), forwarding, asking)]
    assert found[0]["total"]["interceptions"] == 3
    assert found[0]["total"]["input_tokens"] == MOST
    assert (found[0]["total"]["cost"], found[0]["total"]["unpriced"]) == ("0.000217875", 1)
    assert found[1:] == found[:1] * 2


def test_what_is_not_forwarded_is_told_besides(forwarding: Settings) -> None:
    assert "not_forwarded" not in totals(forwarding), "there is no journal on this machine"
    migrate(forwarding.database)
    assert totals(forwarding)["not_forwarded"] == 0
    write(forwarding.database, STARTED, replace(STARTED, interception="2"), ENDED)
    found = totals(forwarding)
    assert (found["not_forwarded"], found["total"]["interceptions"]) == (2, 0)
    assert shown_as(found).splitlines()[-1] == "In the local journal, not yet forwarded: 2"


def test_nothing_is_said_where_nothing_is_left_to_forward(forwarding: Settings, busy: Path) -> None:
    migrate(forwarding.database)
    assert "forwarded" not in shown_as(totals(forwarding))
    assert "not_forwarded" not in totals(at(busy)), "this journal is the store"


def test_a_postgresql_that_is_away_is_a_line(tmp_path: Path, nobody: str) -> None:
    address = nobody.removeprefix("http://")
    settings = Settings(runtime_dir=tmp_path, recorder=Recorder(url=f"postgresql://me:hidden@{address}/records"))
    with pytest.raises(StoreUnavailable) as caught:
        totals(settings)
    line = str(caught.value)
    assert line.startswith(f"store postgresql://me@{address}/records: connection failed")
    assert "\n" not in line
    assert "hidden" not in line


def test_a_postgresql_without_our_tables_is_a_line(tmp_path: Path, fresh_database: str) -> None:
    settings = Settings(runtime_dir=tmp_path, recorder=Recorder(url=fresh_database))
    with pytest.raises(StoreUnavailable, match=r": a table is missing; .*\(42P01\)$"):
        totals(settings)


def test_a_service_that_is_away_is_a_line(tmp_path: Path, nobody: str) -> None:
    url = nobody.replace("http://", "grpc://")
    settings = Settings(runtime_dir=tmp_path, recorder=Recorder(url=url))
    with pytest.raises(StoreUnavailable, match=f"^recorder service {url}: UNAVAILABLE$"):
        totals(settings)


def test_a_report_can_change_nothing(forwarding: Settings) -> None:
    with (
        pytest.raises(StoreUnavailable, match="ReadOnlySqlTransaction"),
        reading.store(forwarding) as engine,
        engine.connect() as connection,
    ):
        connection.exec_driver_sql("DELETE FROM interceptions")


def test_a_report_gives_up_a_statement_that_takes_for_ever(
    forwarding: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PATIENCE", 0.05)
    with (
        pytest.raises(StoreUnavailable, match="it took too long"),
        reading.store(forwarding) as engine,
        engine.connect() as connection,
    ):
        connection.exec_driver_sql("SELECT pg_sleep(60)")
