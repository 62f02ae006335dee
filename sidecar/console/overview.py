"""What a span of time comes to: over time, and by actor, model and client."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, func, select

from sidecar.console import money
from sidecar.console.buckets import Buckets, buckets
from sidecar.console.filters import COLUMNS, Asked
from sidecar.console.money import Tokens
from sidecar.console.store import TooMuch
from sidecar.recorder.schema import interceptions

GROUPINGS: Final = ("actor", "model", "client")
_SHOWN: Final = 20  # names in a table; the others are one line
_GROUPS: Final = 200_000  # that a page adds up


@dataclass(slots=True, kw_only=True)
class Usage:
    """What one name, one part of the time or the whole comes to."""

    requests: int = 0
    failed: int = 0
    open: int = 0
    tokens: Tokens = field(default_factory=Tokens)

    def count(self, status: str | None, requests: int) -> None:
        """Have so many added that are in this state."""
        self.requests += requests
        self.failed += requests if status == "failed" else 0
        self.open += requests if status is None else 0

    def add(self, other: "Usage") -> None:
        """Have it added to this one."""
        self.requests += other.requests
        self.failed += other.failed
        self.open += other.open
        self.tokens.add(other.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The busiest names of a grouping. `others`: what all the rest come to; `left`: how many they are."""

    lines: Sequence[tuple[str, Usage]]
    left: int
    others: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """`times`: every part of the span, in order; `unpriced`: models' names."""

    whole: Usage
    times: Sequence[tuple[datetime, Usage]]
    tables: Mapping[str, Table]
    unpriced: Sequence[str]


def overview(connection: Connection, asked: Asked) -> Overview:
    """What was asked for, added up. Raises `TooMuch`, SQLAlchemy's `DBAPIError`."""
    parts = buckets(asked.since, asked.until)
    found: Mapping[str, defaultdict[Any, Usage]] = {name: defaultdict(Usage) for name in ("part", *GROUPINGS)}
    unpriced: set[str] = set()
    for row in _rows(connection, _requests(connection.dialect.name, asked, parts)):
        for name, usages in found.items():
            usages[getattr(row, name)].count(row.status, row.requests)
    for row in _rows(connection, _tokens(connection.dialect.name, asked, parts)):
        tokens = money.tokens(row)
        if tokens.unknown:
            unpriced.add(row.price_model)
        for name, usages in found.items():
            usages[getattr(row, name)].tokens.add(tokens)
    return Overview(
        whole=_sum(found["part"].values()),
        times=[(parts.start(number), found["part"][number]) for number in parts.numbers],
        tables={name: _table(found[name]) for name in GROUPINGS},
        unpriced=sorted(unpriced),
    )


def _requests(dialect: str, asked: Asked, parts: Buckets) -> Select[Any]:
    groups = [*_groups(dialect, parts), interceptions.c.status]
    return select(*groups, func.count().label("requests")).where(*asked.where()).group_by(*money.names(groups))


def _tokens(dialect: str, asked: Asked, parts: Buckets) -> Select[Any]:
    """Apart from the requests: one may have been answered twice, or not at all."""
    return money.statement(_groups(dialect, parts), asked.since, asked.until, *asked.where())


def _groups(dialect: str, parts: Buckets) -> list[ColumnElement[Any]]:
    names = [COLUMNS[name].label(name) for name in GROUPINGS]
    return [parts.of(dialect, interceptions.c.started_at).label("part"), *names]


def _rows(connection: Connection, statement: Select[Any]) -> Iterator[Any]:
    for number, row in enumerate(connection.execute(statement.limit(_GROUPS + 1))):
        if number == _GROUPS:
            msg = f"more than {_GROUPS:,} combinations of actor, model, client and time"
            raise TooMuch(msg)
        yield row


def _table(usages: Mapping[str, Usage]) -> Table:
    lines = sorted(usages.items(), key=lambda line: (-line[1].requests, line[0]))
    left = lines[_SHOWN:]
    return Table(lines=lines[:_SHOWN], left=len(left), others=_sum(usage for _, usage in left))


def _sum(usages: Iterable[Usage]) -> Usage:
    whole = Usage()
    for usage in usages:
        whole.add(usage)
    return whole
