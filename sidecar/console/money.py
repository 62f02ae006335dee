"""What the tokens of rows cost: how SQL must group them so that a group has one price, and that price."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Integer, case, func, literal

from sidecar.recorder import prices
from sidecar.recorder.schema import interceptions, token_usages

# Beyond a terabyte of tokens in one answer somebody errs, and their sum must not be more than a database can add up.
_MOST: Final = 2**40


class Priced(NamedTuple):
    """What a price depends on."""

    provider: str
    price_model: str
    tier: str | None
    period: int
    bracket: int


def priced(since: datetime, until: datetime) -> list[ColumnElement[Any]]:
    """The columns of a `Priced`, for rows of `token_usages` with their interceptions, all started in this span."""
    return [
        interceptions.c.provider.label("provider"),
        func.coalesce(token_usages.c.provider_model, interceptions.c.model).label("price_model"),
        token_usages.c.service_tier.label("tier"),
        _period(since, until).label("period"),
        _bracket().label("bracket"),
    ]


@dataclass(slots=True, kw_only=True)
class Tokens:
    """Tokens and what they cost. `cost`: US dollars of those with a known price; `unknown`: answers without one."""

    input: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    answers: int = 0
    cost: Decimal = Decimal(0)
    unknown: int = 0

    def add(self, other: "Tokens") -> None:
        """Have them added to these."""
        self.input += other.input
        self.cached += other.cached
        self.written += other.written
        self.output += other.output
        self.answers += other.answers
        self.cost += other.cost
        self.unknown += other.unknown


def sums() -> list[ColumnElement[int]]:
    """The columns that `tokens` reads: of a group's answers the sums."""
    columns = {
        "input": token_usages.c.input_tokens,
        "cached": token_usages.c.cache_read_input_tokens,
        "written": token_usages.c.cache_write_input_tokens,
        "output": token_usages.c.output_tokens,
    }
    return [
        func.count().label("answers"),
        *(func.sum(case((column > _MOST, _MOST), else_=column)).label(name) for name, column in columns.items()),
    ]


def tokens(row: Any) -> Tokens:  # noqa: ANN401 - SQLAlchemy's row: int from SQLite, Decimal from PostgreSQL
    """Those of a row of `priced` and `sums`."""
    found = Tokens(
        input=int(row.input),
        cached=int(row.cached),
        written=int(row.written),
        output=int(row.output),
        answers=int(row.answers),
    )
    rates = prices.rates(row.provider, row.price_model, row.tier, row.period, row.bracket)
    cost = rates.cost(input=found.input, output=found.output, cache_read=found.cached, cache_write=found.written)
    if cost is None:
        found.unknown = found.answers
    else:
        found.cost = cost
    return found


def _period(since: datetime, until: datetime) -> ColumnElement[int]:
    starts = [datetime.combine(day, time.min, UTC) for day in prices.changes()]
    first = bisect_right(starts, since)
    within = [(number, start) for number, start in enumerate(starts, 1) if since < start < until]
    return _steps(interceptions.c.started_at, first, [(start, number) for number, start in within])


def _bracket() -> ColumnElement[int]:
    columns = (token_usages.c.input_tokens, token_usages.c.cache_read_input_tokens)
    length = columns[0] + columns[1] + token_usages.c.cache_write_input_tokens
    return _steps(length, 0, [(most + 1, number) for number, most in enumerate(prices.lengths(), 1)])


def _steps(column: ColumnElement[Any], first: int, steps: Sequence[tuple[Any, int]]) -> ColumnElement[int]:
    if not steps:
        return literal(first, Integer)
    return case(*((column >= start, number) for start, number in reversed(steps)), else_=first)
