"""What is in a store of records, each of the three in one form, and whether it is all there and there once."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from tests.e2e import recorded
from tests.e2e.recorded import Recorded, Row
from tests.e2e.waiting import eventually

CHILDREN = ("user_prompts", "token_usages", "tool_usages", "model_thoughts")
TABLES = ("interceptions", *CHILDREN)
ARRIVES = 120.0  # seconds: the forwarder waits 30 at most before it tries again
Tables = Mapping[str, list[Row]]

_DOCUMENTS = ("actor_metadata", "extra")
_FLAGS = ("streaming", "injected")
# What two bridges say differently of one exchange.
_OWN = ("id", "interception_id", "started_at", "ended_at", "created_at", "worker", "request_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """`url`: what a bridge has as `recorder.url`; `tables`: all rows there are, in the order of their ids."""

    url: str
    tables: Callable[[], Tables]

    @property
    def kind(self) -> str:
        """The scheme of its URL."""
        return self.url.partition(":")[0]

    @property
    def is_elsewhere(self) -> bool:
        """Whether records are forwarded to it."""
        return self.kind != "sqlite"

    def recorder(self, journal: Path, **more: object) -> dict[str, object]:
        """`[recorder]` of a bridge with this store, and `journal` as its journal."""
        return {"url": self.url, "journal": str(journal), **more}


def in_sqlite(database: Path, url: str = "") -> Store:
    """One in that file; `url` where it is reached by another than the file's."""

    def tables() -> Tables:
        return {name: [_plain(row) for row in recorded.rows(database, _all(name))] for name in TABLES}

    return Store(url=url or f"sqlite:///{database}", tables=tables)


def in_postgres(database: str, url: str = "") -> Store:
    """One in the database of that URL; `url` where bridges reach it by another."""

    def tables() -> Tables:
        with closing(psycopg.connect(database, row_factory=dict_row)) as connection:
            try:
                return {name: [_plain(row) for row in connection.execute(_all(name).encode())] for name in TABLES}
            except psycopg.errors.UndefinedTable:  # who stores the first record makes them
                return {name: [] for name in TABLES}

    return Store(url=url or database, tables=tables)


def forwarded(journal: Path) -> None:
    """Wait until the journal holds nothing any more."""
    eventually(lambda: not held(journal), "an empty journal", ARRIVES)


def held(journal: Path) -> int:
    """How many rows the journal holds."""
    return sum(recorded.rows(journal, f"SELECT count(*) AS held FROM {name}")[0]["held"] for name in TABLES)  # noqa: S608 - our own table names


def sessions(tables: Tables) -> dict[str, Recorded]:
    """Its interceptions by their sessions. No id and no session is there twice, and nothing is without an owner."""
    for rows in tables.values():
        assert _repeated(row["id"] for row in rows) == []
    interceptions = {row["id"]: row for row in tables["interceptions"]}
    assert _repeated(row["client_session_id"] for row in interceptions.values()) == []
    assert [row for name in CHILDREN for row in tables[name] if row["interception_id"] not in interceptions] == []
    children = {name: _by_owner(tables[name]) for name in CHILDREN}
    return {
        row["client_session_id"]: Recorded(
            interception=row,
            prompts=children["user_prompts"].get(key, []),
            tokens=children["token_usages"].get(key, []),
            tools=children["tool_usages"].get(key, []),
            thoughts=children["model_thoughts"].get(key, []),
        )
        for key, row in interceptions.items()
    }


def of(names: Collection[str], tables: Tables) -> Tables:
    """What belongs to these sessions."""
    interceptions = [row for row in tables["interceptions"] if row["client_session_id"] in names]
    ids = {row["id"] for row in interceptions}
    children = {name: [row for row in tables[name] if row["interception_id"] in ids] for name in CHILDREN}
    return {"interceptions": interceptions, **children}


def told(one: Recorded) -> dict[str, object]:
    """All of it but ids of ours, times and who recorded it: the same for the same exchange, wherever it is kept."""
    return {
        "interception": _common(one.interception),
        "prompts": [_common(row) for row in one.prompts],
        "tokens": [_common(row) for row in one.tokens],
        "tools": [_common(row) for row in one.tools],
        "thoughts": [_common(row) for row in one.thoughts],
    }


def _all(table: str) -> str:
    return f"SELECT * FROM {table} ORDER BY id"  # noqa: S608 - our own table names


def _repeated(values: Iterable[object]) -> list[object]:
    return [value for value, count in Counter(values).items() if count > 1]


def _by_owner(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["interception_id"], []).append(row)
    return found


def _common(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in _OWN}


def _plain(row: Row) -> Row:
    """Times as text, flags as flags, documents read: SQLite has no types for these."""
    return {name: _value(name, value) for name, value in row.items()}


def _value(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if name in _FLAGS:
        return bool(value)
    return json.loads(value) if name in _DOCUMENTS and isinstance(value, str) else value
