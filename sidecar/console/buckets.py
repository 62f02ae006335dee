"""A span of time in equal parts, few enough to be bars of a chart."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, Integer, Text, cast, extract, func, type_coerce

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STEPS: Final = tuple(_MINUTE * n for n in (1, 5, 15, 30)) + tuple(_HOUR * n for n in (1, 3, 6)) + (_DAY, 7 * _DAY)
_MOST: Final = 60
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Parts of `step` seconds each, numbered from the epoch on."""

    step: int
    numbers: range

    def start(self, number: int) -> datetime:
        """When a part begins, UTC."""
        return _EPOCH + timedelta(seconds=number * self.step)

    def of(self, dialect: str, moment: ColumnElement[datetime]) -> ColumnElement[int]:
        """The number of the part that a column's value is in."""
        if dialect == "postgresql":
            return cast(func.floor(extract("epoch", moment) / self.step), BigInteger)
        return cast(func.strftime("%s", type_coerce(moment, Text)), Integer) // self.step


def buckets(since: datetime, until: datetime) -> Buckets:
    """The parts of the span up to `until`, which is not in it."""
    first, last = _seconds(since), _seconds(until)
    fitting = (step for step in _STEPS if (last - first) / step <= _MOST)
    step = next(fitting, (last - first) // _MOST // _DAY * _DAY + _DAY)
    return Buckets(step=step, numbers=range(first // step, -(-last // step)))


def _seconds(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds())
