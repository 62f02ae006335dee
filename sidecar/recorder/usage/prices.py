"""What tokens cost: list prices in US dollars, of genai-prices' data as it is installed. Nothing is ever fetched.

The price of a request depends on its model, its service tier, its day (prices change) and its length (a token of a long
request costs more). Between two changes and between two lengths it is linear in the tokens: `rates` tells it there, so
that whoever has added up the tokens of one stretch may price them in one go. See docs/decisions/0015.

The library takes half a second to import, hence inside functions and once.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import cache, lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider

PROVIDERS: Final = ("openai",)  # the types that the settings know, by the names that genai-prices has for them
# What a provider calls its usual service; every other tier costs what its own price list says, or nobody knows.
STANDARD: Final = frozenset({"", "auto", "default"})
MOST: Final = 2**32 - 1  # tokens of a kind in one response: whoever tells of more errs, and nobody knows what it costs
ABSURD: Final = -1  # the bracket of what has more, or fewer than none
_COUNTED: Final = frozenset({"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"})
_MILLION: Final = Decimal(10**6)
_EXACT: Final = Context(prec=100)  # digits: 64-bit counts times prices, and sums of them, are never rounded
# How the data's comments say that somebody has looked at the provider's own page. It has no date beside these.
_CHECKED: Final = re.compile(r"\b(?:as of|checked on|last checked|last updated|verified on) (\d{4}-\d{2}-\d{2})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """US dollars a token; None: not known. `input` is without what is read from the cache or written to it."""

    input: Decimal | None
    output: Decimal | None
    cache_read: Decimal | None
    cache_write: Decimal | None

    def cost(self, *, input: int, output: int, cache_read: int, cache_write: int) -> Decimal | None:  # noqa: A002 - what it is called everywhere
        """US dollars, exactly. None if some of the tokens have no price, or a count is negative."""
        counts = (input, output, cache_read, cache_write)
        prices = (self.input, self.output, self.cache_read, self.cache_write)
        if min(counts) < 0:
            return None
        with localcontext(_EXACT):
            whole = Decimal(0)
            for count, price in zip(counts, prices, strict=True):
                if count and price is None:
                    return None
                whole += count * (price or 0)
            return whole


NOTHING_KNOWN: Final = Rates(input=None, output=None, cache_read=None, cache_write=None)


@lru_cache(maxsize=4096)
def rates(provider: str, model: str, service_tier: str | None, period: int, bracket: int) -> Rates:
    """The prices in one stretch: `period` of the `changes` have come, requests are longer than `bracket` `lengths`.

    None are known in the bracket `ABSURD`.
    """
    if bracket == ABSURD:
        return NOTHING_KNOWN
    found = next((one for one in _providers() if one.id == provider), None)
    priced = found.find_model(model) if found and model else None
    price = _price(priced, service_tier or "", _moment(period)) if priced else None
    return _rates(price, lengths()[bracket - 1] + 1 if bracket else 0) if price else NOTHING_KNOWN


@cache
def changes() -> tuple[dt.date, ...]:
    """The days (UTC) with which some price begins, in order."""
    from genai_prices.types import StartDateConstraint  # noqa: PLC0415 - slow to import

    found = {
        one.constraint.start_date
        for model in _models()
        for one in (*_conditional(model), *(model.price_variants or ()))
        if isinstance(one.constraint, StartDateConstraint)
    }
    return tuple(sorted(found))


@cache
def lengths() -> tuple[int, ...]:
    """The numbers of input tokens, cached ones included, beyond which a request costs more a token, in order."""
    return tuple(sorted({start for model in _models() for price in _all(model) for start in _starts(price)}))


def source() -> str:
    """Whose prices they are: `genai-prices 0.2.3`."""
    return f"genai-prices {version('genai-prices')}"


@cache
def date() -> str | None:
    """The newest day (`YYYY-MM-DD`) on which a price was checked with its provider, as far as the data tells.

    None if it does not. The data has no date of its own; a release of it is some days or weeks younger than this.
    """
    comments = [text for provider in _providers() for text in (provider.price_comments, *_comments(provider))]
    return max((day for text in comments for day in _CHECKED.findall(text or "")), default=None)


@cache
def _providers() -> tuple[Provider, ...]:
    # As packaged, not `get_snapshot()`: what somebody might have fetched is none of ours.
    from genai_prices.data import providers  # noqa: PLC0415 - slow to import

    return tuple(provider for provider in providers if provider.id in PROVIDERS)


def _models() -> Iterator[ModelInfo]:
    for provider in _providers():
        yield from provider.models


def _comments(provider: Provider) -> Iterator[str | None]:
    return (model.price_comments for model in provider.models)


def _price(model: ModelInfo, tier: str, at: dt.datetime) -> ModelPrice | None:
    """What the model costs; None for a tier without a price list that is in force, and where the hour matters."""
    if any(one.constraint is not None and not hasattr(one.constraint, "start_date") for one in _conditional(model)):
        return None
    if tier in STANDARD:
        return model.get_prices(at)
    context = {"service_tier": tier}
    # The library would fall back to the usual prices.
    known = (one for one in model.price_variants or () if one.when == context)
    is_known = any(one.constraint is None or one.constraint.active(at) for one in known)
    return model.get_prices(at, context) if is_known else None


def _rates(price: ModelPrice, length: int) -> Rates:
    """Those of a request of `length`. None are known where the kind of a token matters (audio, images).

    Cached tokens without a price of their own cost as much as others, as in the library.
    """
    flat = dict(_flat(price, length))
    if any(key.endswith("_mtok") and key not in _COUNTED for key in flat) or "requests_kcount" in flat:
        return NOTHING_KNOWN
    usual = flat.get("input_mtok")
    return Rates(
        input=usual,
        output=flat.get("output_mtok"),
        cache_read=flat.get("cache_read_mtok", usual),
        cache_write=flat.get("cache_write_mtok", usual),
    )


def _flat(price: ModelPrice, length: int) -> Iterator[tuple[str, Decimal]]:
    from genai_prices.types import calc_unit_price  # noqa: PLC0415 - slow to import

    for key, value in vars(price).items():
        if value is not None:
            with localcontext(_EXACT):
                yield key, calc_unit_price(value, 1, length, 1) / _MILLION


def _conditional(model: ModelInfo) -> Sequence[ConditionalPrice]:
    return model.prices if isinstance(model.prices, list) else ()


def _all(model: ModelInfo) -> Iterator[ModelPrice]:
    if not isinstance(model.prices, list):
        yield model.prices
    yield from (one.prices for one in (*_conditional(model), *(model.price_variants or ())))


def _starts(price: ModelPrice) -> Iterator[int]:
    for value in vars(price).values():
        yield from (tier.start for tier in getattr(value, "tiers", ()))


def _moment(period: int) -> dt.datetime:
    day = changes()[period - 1] if period else dt.date.min
    return dt.datetime.combine(day, dt.time.min, dt.UTC)
