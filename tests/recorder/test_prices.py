"""Prices are those of genai-prices, and never a guess: the library itself is the oracle."""

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Context, Decimal, localcontext

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers
from genai_prices.types import StartDateConstraint
from hypothesis import given
from hypothesis import strategies as st

from sidecar.recorder.usage import prices
from tests.recorder import single_costs

DAY = date(2026, 11, 25)  # the data that is locked knows what was in force then, and it is no longer going to change
FLAGSHIP = "gpt-5.6-sol"  # with a history, tiers by length, and a price for each service tier
LONG = 272_000  # tokens, beyond which it costs more
(OPENAI,) = (provider for provider in providers if provider.id == "openai")
MODELS = tuple(model.id for model in OPENAI.models)
NONE = {"input": 0, "output": 0, "cache_read": 0, "cache_write": 0}
counts = st.integers(0, 2 * LONG) | st.integers(0, prices.MOST)
usages = st.fixed_dictionaries(dict.fromkeys(NONE, counts))
days = st.dates(date(2024, 1, 1), date(2027, 12, 31))


def cost(model: str = FLAGSHIP, at: date = DAY, tier: str | None = None, **counts: int) -> Decimal | None:
    return single_costs.cost("openai", model, at, tier, **(NONE | counts))


def theirs(model: str, at: date, tier: str | None, used: dict[str, int]) -> Decimal:
    """As the library tells it, whose count of input tokens has the cached ones in it."""
    cached = used["cache_read"] + used["cache_write"]
    usage = Usage(
        input_tokens=used["input"] + cached,
        output_tokens=used["output"],
        cache_read_tokens=used["cache_read"],
        cache_write_tokens=used["cache_write"],
    )
    moment = datetime(at.year, at.month, at.day, 12, tzinfo=UTC)
    context = {"service_tier": tier} if tier else None
    with localcontext(Context(prec=100)):
        found = calc_price(usage, model, provider_id="openai", genai_request_timestamp=moment, price_context=context)
    return found.total_price


@given(st.sampled_from(MODELS), days, st.sampled_from([None, "default", "flex", "priority", "fast"]), usages)
def test_a_price_is_what_genai_prices_says(model: str, at: date, tier: str | None, used: dict[str, int]) -> None:
    """To the last digit: every model, on every day, in every tier, of any length."""
    found = cost(model, at, tier, **used)
    assert found is None or found == theirs(model, at, tier, used)


@given(days, st.sampled_from([None, "default", "auto", ""]), usages)
def test_a_text_model_always_has_a_price(at: date, tier: str | None, used: dict[str, int]) -> None:
    assert cost("gpt-5", at, tier, **used) is not None


@given(st.sampled_from(MODELS), st.sampled_from([None, "flex"]), days, st.lists(usages, max_size=8))
def test_a_stretch_may_be_priced_in_one_go(model: str, tier: str | None, at: date, used: list[dict[str, int]]) -> None:
    """What an aggregate relies on: between two lengths and between two changes the price is linear."""
    with localcontext(Context(prec=100)):
        for bracket in range(len(prices.lengths()) + 1):
            some = [one for one in used if _bracket(one) == bracket]
            each = [cost(model, at, tier, **one) for one in some]
            together = prices.rates("openai", model, tier, _period(at), bracket).cost(
                **{name: sum(one[name] for one in some) for name in NONE}
            )
            assert together == (None if None in each else sum(filter(None, each)))


def _period(at: date) -> int:
    return sum(change <= at for change in prices.changes())


def _bracket(used: dict[str, int]) -> int:
    return sum(used["input"] + used["cache_read"] + used["cache_write"] > length for length in prices.lengths())


def test_what_the_provider_says_it_used_is_found_too() -> None:
    assert cost("gpt-5-2025-08-07", input=10) == cost("gpt-5", input=10)


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-nonesuch"), ("openai", ""), ("openai", "claude-sonnet-4-5"), ("nobody", "gpt-5"), ("", "gpt-5")],
)
def test_what_is_not_known_is_not_guessed(provider: str, model: str) -> None:
    """A model of another provider neither: who serves it sets its price."""
    assert single_costs.cost(provider, model, DAY, **(NONE | {"input": 1})) is None


@pytest.mark.parametrize("count", [-1, prices.MOST + 1, 2**63 - 1])
@pytest.mark.parametrize("kind", NONE)
def test_an_absurd_count_has_no_price(kind: str, count: int) -> None:
    """Whoever told it errs, and would make the whole sum worthless."""
    assert cost(**{kind: count}) is None
    assert cost(**{kind: prices.MOST}) is not None


def test_a_tier_without_a_price_list_is_unknown() -> None:
    """`scale` is agreed upon with each customer."""
    assert cost(tier="scale", input=1) is None
    assert cost(tier="flex", input=1) < cost(tier="default", input=1) < cost(tier="priority", input=1)  # type: ignore[operator]


def test_a_tier_before_its_price_list_is_unknown() -> None:
    """The library falls back to the usual price, which is never the tier's."""
    assert cost("gpt-5", date(2026, 10, 11), "priority", input=1) is None
    assert cost("gpt-5", date(2026, 10, 12), "priority", input=1) is not None


@pytest.mark.parametrize("model", ["gpt-image-1", "gpt-realtime", "gpt-4o-transcribe", "whisper-1", "tts-1"])
def test_where_the_kind_of_a_token_matters_it_is_unknown(model: str) -> None:
    """The records do not tell tokens of audio and images from those of text."""
    assert cost(model, input=1, output=1) is None


def test_an_embedding_has_a_price_as_long_as_nothing_comes_out() -> None:
    assert cost("text-embedding-3-small", input=1_000_000) == Decimal("0.02")
    assert cost("text-embedding-3-small", input=1, output=1) is None


def test_a_negative_count_has_no_price() -> None:
    assert cost(input=-1, output=2) is None


def test_nothing_costs_nothing() -> None:
    assert cost("gpt-5") == 0


def test_a_long_request_costs_more_and_all_of_it() -> None:
    """As soon as its input, the cached included, is longer than the tier: by one token."""
    short = cost(input=LONG - 2, cache_read=1, cache_write=1)
    beyond = cost(input=LONG - 1, cache_read=1, cache_write=1)
    assert short
    assert beyond
    assert beyond > 2 * short


def test_no_price_changes_with_the_hour() -> None:
    """If one does, its model is unknown (`_price`), for a day's tokens are added up: time to think again."""
    histories = (model.prices for model in OPENAI.models if isinstance(model.prices, list))
    constraints = [one.constraint for history in histories for one in history]
    assert {type(one) for one in constraints if one} == {StartDateConstraint}


def test_the_prices_have_a_date_and_a_source() -> None:
    """Of the data that is locked: if this fails after an update, the data words its checks in another way."""
    found = prices.date()
    assert found
    assert date.fromisoformat(found) >= date(2026, 10, 26)
    assert prices.source().startswith("genai-prices 0.")


NO_NETWORK = """
import sys
heard = []
sys.addaudithook(lambda event, _: heard.append(event) if event.startswith("socket.") else None)
import threading
from sidecar.recorder.usage import prices
assert "genai_prices" not in sys.modules, "it delays whoever needs no prices"
known = prices.rates("openai", "gpt-5", None, len(prices.changes()), 0)
assert known.cost(input=1, output=1, cache_read=1, cache_write=1)
assert prices.date()
assert threading.active_count() == 1
assert not heard, heard
"""


def test_nothing_is_fetched_and_nothing_imported_before_it_is_needed() -> None:
    subprocess.run([sys.executable, "-c", NO_NETWORK], check=True)
