"""What the database adds up is what each answer costs by itself: `single_costs` is the oracle."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, localcontext
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
from genai_prices.data import providers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.recorder.usage import Usage, costs, prices, totals
from tests import stores
from tests.recorder import single_costs
from tests.stores import Database, interception, opened, tokens, tool

KNOWN = "gpt-5.6-sol"  # with a history, prices by length, and a price list for each service tier
LENGTHS = [length + more for length in prices.lengths() for more in (-1, 0, 1)]
MOMENTS = [
    datetime(change.year, change.month, change.day, tzinfo=UTC) + timedelta(microseconds=more)
    for change in prices.changes()
    for more in (-1, 0, 1)
]
GROUPED = {"actor": "initiator_id", "model": "model", "client": "client", "day": "day"}

Counts = Mapping[str, int]


class Answer(NamedTuple):
    counts: Counts
    provider_model: str | None
    tier: str | None


class Exchange(NamedTuple):
    row: Mapping[str, str]
    at: datetime
    answers: Sequence[Answer]


count = (
    st.integers(0, 1000)
    | st.sampled_from([*LENGTHS, -1, prices.MOST, prices.MOST + 1, 2**63 - 1, -(2**63)])
    | st.integers(0, 2 * max(prices.lengths()))
)
kinds = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens")
answer = st.builds(
    Answer,
    counts=st.fixed_dictionaries(dict.fromkeys(kinds, count)),
    provider_model=st.sampled_from([None, "", KNOWN, "gpt-5-2025-08-07", "text-embedding-3-small", "nonesuch"]),
    tier=st.sampled_from([None, "", "default", "flex", "priority", "scale"]),
)
names = {
    "initiator_id": st.sampled_from(["alice", "bob"]),
    "model": st.sampled_from([KNOWN, "gpt-5", "gpt-4o-audio-preview", "llama", ""]),
    "client": st.sampled_from(["Codex", "Zed"]),
    "provider": st.sampled_from(["openai", "openai", "openai", "elsewhere"]),
}
exchange = st.builds(
    Exchange, row=st.fixed_dictionaries(names), at=st.sampled_from(MOMENTS), answers=st.lists(answer, max_size=3)
)


@pytest.fixture(params=stores.KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with stores.database(request, tmp_path) as database:
        yield database


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with stores.sqlite(tmp_path_factory.mktemp("costs")) as database:
        yield database


@given(st.lists(exchange, max_size=8))
def test_a_sum_is_the_sum_of_what_each_answer_costs(sqlite: Database, exchanges: Sequence[Exchange]) -> None:
    """Whatever was asked, of whom, when and how: by every grouping, and to the last digit."""
    _holds_alone(sqlite, exchanges)
    _agrees(sqlite, exchanges)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(exchange, max_size=8))
def test_and_in_postgresql(database: Database, exchanges: Sequence[Exchange]) -> None:
    _holds_alone(database, exchanges)
    _agrees(database, exchanges)


def _holds_alone(database: Database, exchanges: Sequence[Exchange]) -> None:
    database.run("DELETE FROM token_usages")
    database.run("DELETE FROM interceptions")
    for number, one in enumerate(exchanges):
        used = [
            tokens(**each.counts, provider_model=each.provider_model, service_tier=each.tier) for each in one.answers
        ]
        database.holds(interception(f"i-{number}", *used, **one.row, started_at=_text(one.at)))


def _agrees(database: Database, exchanges: Sequence[Exchange]) -> None:
    with database.connected() as connection:
        found = totals(connection)
    assert _told(found["total"]) == _expected(exchanges)
    for grouping, name in GROUPED.items():
        for line in found[grouping]:  # type: ignore[literal-required]
            theirs = [one for one in exchanges if (one.row | {"day": _text(one.at)[:10]})[name] == line["name"]]
            assert _told(line) == _expected(theirs)


def _told(line: Usage) -> tuple[Decimal | None, int | None]:
    return None if line["cost"] is None else Decimal(line["cost"]), line["unpriced"]


def _expected(exchanges: Sequence[Exchange]) -> tuple[Decimal | None, int | None]:
    each = [[_cost(one, answer) for answer in one.answers] for one in exchanges]
    unpriced = sum(None in some for some in each)
    with localcontext(Context(prec=100)):
        known = sum((one for some in each for one in some if one is not None), start=Decimal(0))
    return (known if known or not unpriced else None), unpriced


def _cost(exchange: Exchange, answer: Answer) -> Decimal | None:
    counts = (answer.counts[kind] for kind in kinds)
    named = dict(zip(("input", "output", "cache_read", "cache_write"), counts, strict=True))
    model = answer.provider_model or exchange.row["model"]
    return single_costs.cost(exchange.row["provider"], model, exchange.at.date(), answer.tier, **named)


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def found(database: Database, since: date | None = None, until: date | None = None) -> Usage:
    with database.connected() as connection:
        return totals(connection, since, until)["total"]


def known(**changed: object) -> tuple[str, dict[str, object]]:
    """200 tokens of a model for 1.25 US dollars a million."""
    nothing = dict.fromkeys(kinds, 0)
    return tokens(**nothing | {"input_tokens": 200, "provider_model": "gpt-5", "service_tier": None} | changed)


def unknown(**changed: object) -> tuple[str, dict[str, object]]:
    return known(provider_model="nonesuch", **changed)


def test_what_has_a_price_is_told_beside_what_has_none(database: Database) -> None:
    database.holds(interception("1", known()), interception("2", unknown()), interception("3"), opened("4"))
    assert _told(found(database)) == (Decimal("0.00025"), 1)


def test_what_has_no_price_at_all_costs_nobody_knows_what(database: Database) -> None:
    database.holds(interception("1", unknown()))
    assert _told(found(database)) == (None, 1)


def test_an_interception_is_unpriced_once(database: Database) -> None:
    """However many of its answers have no price; the others count."""
    database.holds(interception("1", known(), unknown(), unknown(service_tier="flex"), tool(), tool()))
    assert _told(found(database)) == (Decimal("0.00025"), 1)


def test_no_tokens_cost_nothing_whatever_the_price(database: Database) -> None:
    database.holds(interception("1", unknown(input_tokens=0)))
    assert _told(found(database)) == (0, 0)


def test_only_the_days_asked_for_cost(database: Database) -> None:
    database.holds(
        interception("1", known(), started_at="2026-01-01T23:59:59.999999Z"),
        interception("2", known(), started_at="2026-01-02T00:00:00.000000Z"),
        interception("3", unknown(), started_at="2026-01-03T00:00:00.000000Z"),
    )
    assert _told(found(database, date(2026, 1, 2), date(2026, 1, 2))) == (Decimal("0.00025"), 0)


def test_what_belongs_to_no_interception_costs_nothing(database: Database) -> None:
    orphan = interception("1", known())
    database.holds(type(orphan)(rows={**orphan.rows, "interceptions": []}))
    assert _told(found(database)) == (0, 0)


def test_a_name_is_no_more_than_a_name(database: Database) -> None:
    """Of models that clients make up: neither SQL nor JSON takes them for its own."""
    odd = "ft:gpt-3.5-turbo-'\"%s:x\\ \u2028{}\ud7ff"  # begins like one with a price
    database.holds(
        interception("1", known(provider_model=odd)), interception("2", known(provider_model=None), model=odd)
    )
    assert _told(found(database)) == (Decimal("0.0012"), 0)


def test_every_price_there_is_can_be_added_up() -> None:
    """A new release of the data might hold one that is no whole number of units, which would be told as unknown."""
    (openai,) = (provider for provider in providers if provider.id == "openai")
    periods, brackets = range(len(prices.changes()) + 1), range(len(prices.lengths()) + 1)
    for model, *where in product(openai.models, (None, "flex", "priority", "batch"), periods, brackets):
        found = astuple(prices.rates("openai", model.id, *where))
        assert [costs.whole(price) for price in found] == [price and price / costs.UNIT for price in found]


@pytest.mark.parametrize("price", [None, costs.UNIT / 2, costs.UNIT * 2**29])
def test_a_price_that_cannot_be_added_up_is_unknown(price: Decimal | None) -> None:
    assert costs.whole(price) is None


@pytest.mark.parametrize(
    ("units", "text"), [(0, "0"), (1, "0.00000000001"), (125 * 10**6, "0.00125"), (10**13, "100"), (2**96, None)]
)
def test_an_exact_cost_has_all_its_digits(units: int, text: str | None) -> None:
    """And no exponent."""
    told = costs.dollars(units)
    assert "E" not in told
    assert Decimal(told).scaleb(11, Context(prec=100)) == units
    assert text in {None, told}
