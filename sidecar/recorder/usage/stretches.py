"""Where a price is linear in the tokens, as SQL tells it: rows of one stretch may be added up and priced in one go."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, FromClause, Integer, Label, case, func, literal, or_

from sidecar.recorder.schema import interceptions, token_usages
from sidecar.recorder.usage import prices

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


class Stretch(NamedTuple):
    """All that a price depends on: the arguments of `prices.rates`."""

    provider: str
    price_model: str
    tier: str
    period: int
    bracket: int


def answers() -> FromClause:
    """Rows of `token_usages` with their interceptions."""
    return token_usages.join(interceptions, interceptions.c.id == token_usages.c.interception_id)


def stretch(since: datetime = _FIRST, until: datetime = _LAST) -> list[Label[Any]]:
    """The columns of a row's `Stretch`, for `answers` to interceptions that all started in this span."""
    used = func.coalesce(func.nullif(token_usages.c.provider_model, ""), interceptions.c.model)
    tier = func.coalesce(token_usages.c.service_tier, "")
    found = (interceptions.c.provider, used, tier, _period(since, until), _bracket())
    return [value.label(name) for name, value in zip(Stretch._fields, found, strict=True)]


def _period(since: datetime, until: datetime) -> ColumnElement[int]:
    starts = [datetime.combine(day, time.min, UTC) for day in prices.changes()]
    first = bisect_right(starts, since)
    within = [(start, number) for number, start in enumerate(starts, 1) if since < start < until]
    return _steps(interceptions.c.started_at, first, within)


def _bracket() -> ColumnElement[int]:
    counts = [token_usages.c[f"{name}_tokens"] for name in ("input", "cache_read_input", "cache_write_input", "output")]
    # All their bits, of which a negative count has the highest.
    bits = counts[0].bitwise_or(counts[1]).bitwise_or(counts[2]).bitwise_or(counts[3])
    is_absurd = or_(bits < 0, bits > literal(prices.MOST, BigInteger))
    steps = [(most + 1, number) for number, most in enumerate(prices.lengths(), 1)]
    return case((is_absurd, prices.ABSURD), else_=_steps(counts[0] + counts[1] + counts[2], 0, steps))


def _steps(column: ColumnElement[Any], first: int, steps: Sequence[tuple[Any, int]]) -> ColumnElement[int]:
    if not steps:
        return literal(first, Integer)
    return case(*((column >= start, number) for start, number in reversed(steps)), else_=first)
