from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sidecar.recorder.usage import MOST, Totals, Usage, prices, totals
from tests import stores
from tests.stores import Database, interception, opened, tokens, tool

FIRST_DAY, SECOND_DAY = "2001-09-09T23:59:59.999999Z", "2001-09-10T00:00:00.000000Z"


@pytest.fixture(params=stores.KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with stores.database(request, tmp_path) as database:
        yield database


def found(database: Database, since: date | None = None, until: date | None = None) -> Totals:
    with database.connected() as connection:
        return totals(connection, since, until)


PRICES = {"source": prices.source(), "date": prices.date()}


def usage(name: str, interceptions: int, **counts: int) -> Usage:
    nothing: dict[str, Any] = dict.fromkeys(Usage.__annotations__, 0)
    cost = None if counts.get("unpriced") else "0"
    return Usage(**nothing | counts | {"name": name, "interceptions": interceptions, "cost": cost})


def test_usage_is_added_up_by_actor_model_client_and_day(database: Database) -> None:
    database.holds(
        interception("1", tokens(), tokens(input_tokens=5), tool(), tool(), tool(), started_at=FIRST_DAY),
        interception("2", tokens(), started_at=SECOND_DAY, client="Zed", status="failed"),
        opened("3", started_at=SECOND_DAY, initiator_id="bob", model="gpt-5-mini"),
    )
    counts = {"output_tokens": 20, "cache_read_input_tokens": 3, "cache_write_input_tokens": 4}
    one, two, three = ({count: times * value for count, value in counts.items()} for times in (1, 2, 3))
    for some, interceptions in ((one, 1), (two, 1), (three, 2)):
        some["unpriced"] = interceptions  # nobody knows a `gpt-5-2026`
    assert found(database) == {
        "since": None,
        "until": None,
        "total": usage("", 3, failed=1, open=1, input_tokens=25, tool_calls=3, **three),
        "actor": [usage("alice", 2, failed=1, input_tokens=25, tool_calls=3, **three), usage("bob", 1, open=1)],
        "model": [usage("gpt-5", 2, failed=1, input_tokens=25, tool_calls=3, **three), usage("gpt-5-mini", 1, open=1)],
        "client": [
            usage("Codex", 2, open=1, input_tokens=15, tool_calls=3, **two),
            usage("Zed", 1, failed=1, input_tokens=10, **one),
        ],
        "day": [
            usage("2001-09-09", 1, input_tokens=15, tool_calls=3, **two),
            usage("2001-09-10", 2, failed=1, open=1, input_tokens=10, **one),
        ],
        "prices": PRICES,
    }


def test_nothing_adds_up_to_nothing(database: Database) -> None:
    empty: dict[str, Any] = {"actor": [], "model": [], "client": [], "day": []}
    assert found(database) == {"since": None, "until": None, "total": usage("", 0), **empty, "prices": PRICES}


def test_the_busiest_comes_first_and_then_the_name(database: Database) -> None:
    names = ["bob", "carol", "carol", "alice"]
    database.holds(*(interception(str(n), initiator_id=name) for n, name in enumerate(names)))
    assert [line["name"] for line in found(database)["actor"]] == ["carol", "alice", "bob"]


@pytest.mark.parametrize(
    ("counts", "total"),
    [
        ([MOST, MOST], MOST),
        ([-MOST - 1, -MOST - 1], -MOST - 1),
        ([MOST, MOST, -MOST, -MOST], 0),
        ([MOST, -1], MOST - 1),
        ([2**53, 1], 2**53 + 1),
        ([-1, -2], -3),
    ],
)
def test_an_absurd_count_costs_nobody_the_report(database: Database, counts: list[int], total: int) -> None:
    """Sums beyond 64 bits are told as the largest there is; others are exact. In one interception and over several."""
    database.holds(interception("1", *(tokens(input_tokens=count) for count in counts)))
    assert found(database)["total"]["input_tokens"] == total
    several = [interception(f"2-{n}", tokens(input_tokens=count), initiator_id="bob") for n, count in enumerate(counts)]
    database.holds(*several)
    assert found(database)["actor"][0]["input_tokens"] == total


def test_what_belongs_to_no_interception_is_not_counted(database: Database) -> None:
    orphans = interception("1", tokens(), tool())
    orphans = type(orphans)(rows={**orphans.rows, "interceptions": []})
    database.holds(interception("2", tokens()), orphans)
    total = found(database)["total"]
    assert (total["input_tokens"], total["tool_calls"]) == (10, 0)


@pytest.mark.parametrize(
    ("since", "until", "names"),
    [
        (None, date(2001, 9, 9), ["1"]),
        (date(2001, 9, 10), None, ["2"]),
        (date(2001, 9, 9), date(2001, 9, 10), ["1", "2"]),
        (date(2001, 9, 11), date.max, []),
        (date.min, date.max, ["1", "2"]),
        (date(301, 1, 1), None, ["1", "2"]),
    ],
)
def test_both_days_are_included(database: Database, since: date | None, until: date | None, names: list[str]) -> None:
    """To the microsecond; and a year of three digits is not taken for a late one."""
    for name, at in ("1", FIRST_DAY), ("2", SECOND_DAY):
        database.holds(interception(name, initiator_id=name, started_at=at))
    totals = found(database, since, until)
    assert [line["name"] for line in totals["actor"]] == names
    assert (totals["since"], totals["until"]) == (since and since.isoformat(), until and until.isoformat())


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_days_are_utc_whatever_the_time_zone(database: Database, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """14 hours before and 11 behind: of the machine, and of PostgreSQL's session."""
    monkeypatch.setenv("TZ", zone)
    database.holds(interception("1", started_at=FIRST_DAY), interception("2", started_at=SECOND_DAY))
    if database.settings.recorder.kind == "postgresql":
        name = database.settings.recorder.url.rpartition("/")[2]
        database.run(f"ALTER DATABASE {name} SET timezone = '{zone}'")
    assert [line["name"] for line in found(database)["day"]] == ["2001-09-09", "2001-09-10"]
    assert found(database, date(2001, 9, 10))["total"]["interceptions"] == 1
