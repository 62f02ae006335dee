"""What the tokens of a group of rows cost, all of one `Stretch`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, case, func, select

from sidecar.recorder.schema import token_usages
from sidecar.recorder.usage import prices
from sidecar.recorder.usage.stretches import answers, stretch

# Beyond a terabyte of tokens in one answer somebody errs, and their sum must not be more than a database can add up.
_MOST: Final = 2**40


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


def statement(
    groups: Sequence[ColumnElement[Any]], since: datetime, until: datetime, *within: ColumnElement[bool]
) -> Select[Any]:
    """Rows of the groups, one for each `Stretch` they have, for `tokens`.

    Of the answers `within`, to interceptions that all started in this span.
    """
    columns = [*groups, *stretch(since, until)]
    return select(*columns, *_sums()).select_from(answers()).where(*within).group_by(*names(columns))


def names(groups: Iterable[ColumnElement[Any]]) -> list[str]:
    """What to group by: PostgreSQL would not know two expressions with parameters for the same."""
    return [str(column.key) for column in groups]


def tokens(row: Any) -> Tokens:  # noqa: ANN401 - SQLAlchemy's row: int from SQLite, Decimal from PostgreSQL
    """Those of a row of `statement`."""
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


def _sums() -> list[ColumnElement[int]]:
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
