"""What tokens cost, added up by the database: exactly, and with a price asked for once, not for every row.

    answers ─▶ their different stretches ─▶ a price for each ─▶ a table that the answers are joined with

Whole numbers of a small unit are added up, since SQLite has no decimals.
"""

import json
from collections.abc import Iterator, Sequence
from decimal import Context, Decimal, localcontext
from typing import Any, Final

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Label,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from sidecar.recorder.schema import interceptions, token_usages
from sidecar.recorder.usage import prices
from sidecar.recorder.usage.stretches import Stretch, answers, stretch

# Of US dollars. Every price of a token is a whole number of them (a million tokens at a thousandth of a cent each), or
# taken for unknown.
UNIT: Final = Decimal("1e-11")
_DEAREST: Final = 2**29  # of them: four of the largest counts times as much fit into 64 bits
_PRICES: Final = {
    "input": token_usages.c.input_tokens,
    "output": token_usages.c.output_tokens,
    "cache_read": token_usages.c.cache_read_input_tokens,
    "cache_write": token_usages.c.cache_write_input_tokens,
}
_BITS: Final = 32
_EXACT: Final = Context(prec=100)


def rates(connection: Connection, within: Sequence[ColumnElement[bool]]) -> CTE:
    """A table of the prices that answers to interceptions `within` have, as far as they have any."""
    asked = select(*stretch()).select_from(answers()).where(*within).distinct()
    known = ((Stretch(*row), _units(Stretch(*row))) for row in connection.execute(asked))
    document = json.dumps([{**one._asdict(), **units} for one, units in known if any(units.values())])
    return _table(connection.dialect.name, literal(document, Text))


def priced(rates: CTE) -> FromClause:
    """Every interception with its answers, and they with their prices, as far as there are any."""
    answered = interceptions.outerjoin(token_usages, token_usages.c.interception_id == interceptions.c.id)
    return answered.outerjoin(rates, and_(*(rates.c[key.name] == key.element for key in stretch())))


def sums(rates: CTE) -> Iterator[Label[int]]:
    """Of a group of `priced` the cost, in halves, and `unpriced`: 1 if an answer's price is not known."""
    cost = _cost(rates)
    yield from halves("cost", cost)
    yield func.max(case((and_(cost.is_(None), token_usages.c.id.is_not(None)), 1), else_=0)).label("unpriced")


def halves(name: str, number: ColumnElement[int]) -> Iterator[Label[int]]:
    """The sum of a group's numbers, NULL as 0: whole it would fail beyond 64 bits, and one absurd count the report."""
    yield _sum(number.bitwise_rshift(literal(_BITS, Integer))).label(f"{name}_high")
    yield _sum(number.bitwise_and(literal(2**_BITS - 1, BigInteger))).label(f"{name}_low")


def joined(row: Any, name: str) -> int:  # noqa: ANN401 - SQLAlchemy's mapping: int from SQLite, Decimal from PostgreSQL
    """The sum whose halves are in the row. A cost is a number of `UNIT`."""
    return (int(row[f"{name}_high"]) << _BITS) + int(row[f"{name}_low"])


def dollars(units: int) -> str:
    """So many of `UNIT`, exactly, with as many digits as that has: `0.00125`, `0`."""
    with localcontext(_EXACT):
        return f"{(units * UNIT).normalize():f}"


def whole(price: Decimal | None) -> int | None:
    """The price of a token as a number of `UNIT`; None if it is none, or a larger one than can be added up."""
    if price is None:
        return None
    units = price / UNIT
    return int(units) if units == int(units) and units < _DEAREST else None


def _units(stretch: Stretch) -> dict[str, int | None]:
    found = prices.rates(*stretch)
    return {f"{name}_units": whole(getattr(found, name)) for name in _PRICES}


def _table(dialect: str, document: ColumnElement[str]) -> CTE:
    """The document's objects as rows: one parameter, however many they are."""
    texts, numbers = Stretch._fields[:3], (*Stretch._fields[3:], *(f"{name}_units" for name in _PRICES))
    if dialect == "postgresql":
        columns: list[ColumnElement[Any]] = [column(name, Text) for name in texts]
        columns += [column(name, BigInteger) for name in numbers]
        rows = func.jsonb_to_recordset(cast(document, JSONB)).table_valued(*columns).render_derived(with_types=True)
        return select(*rows.c).cte("rates")
    value = func.json_each(document).table_valued("value").c.value
    return select(*(func.json_extract(value, f"$.{name}").label(name) for name in (*texts, *numbers))).cte("rates")


def _cost(rates: CTE) -> ColumnElement[int]:
    """NULL if some of the tokens have no price."""
    kinds = ((count, rates.c[f"{name}_units"]) for name, count in _PRICES.items())
    first, *others = (func.coalesce(count * units, case((count == 0, 0))) for count, units in kinds)
    return sum(others, start=first)


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(column), 0), BigInteger)
