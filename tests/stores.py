"""Databases as stores, for tests that hold for each: filled as a forwarder fills them, read as a command reads."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from sidecar.recorder import reading
from sidecar.recorder.batches import CHILDREN, COLUMNS, INTERCEPTIONS, Batch, Store
from sidecar.recorder.journal import migration
from sidecar.recorder.postgres import store as postgres
from sidecar.recorder.postgres.store import PostgresStore
from sidecar.recorder.sqlite_store import SqliteStore
from sidecar.settings import Recorder, Settings
from tests.postgres import execute
from tests.recorder import journal_samples as samples

KINDS = ("sqlite", "postgresql")
ROWS = {
    INTERCEPTIONS: samples.ENDED_ROW,
    "user_prompts": samples.PROMPT_ROW,
    "token_usages": samples.TOKENS_ROW,
    "tool_usages": samples.TOOL_ROW,
    "model_thoughts": samples.THOUGHT_ROW,
}
_OPEN = {key: samples.STARTED_ROW[key] for key in ("ended_at", "status", "http_status", "provider_request_id")}
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    settings: Settings
    store: Store

    def holds(self, *batches: Batch) -> None:
        """From now on, besides what there is."""
        for batch in batches:
            assert self.store.put(batch) == frozenset()

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """What it gives, for who may do anything."""
        recorder = self.settings.recorder
        if recorder.password:
            secret = recorder.password.get_secret_value()
            return execute(recorder.url.replace("@", f":{secret}@", 1), statement)
        with closing(sqlite3.connect(self.settings.database)) as connection, connection:
            return connection.execute(statement).fetchall()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        with reading.store(self.settings) as engine, engine.connect() as connection:
            yield connection


@contextmanager
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty one of the kind that `request` has as its parameter, with the newest schema."""
    opening = sqlite(tmp_path) if request.param == "sqlite" else _postgresql(request, tmp_path)
    with opening as database:
        yield database


@contextmanager
def sqlite(tmp_path: Path) -> Iterator[Database]:
    recorder = Recorder(url=f"sqlite:///{tmp_path}/records.db")
    migration.migrate(tmp_path / "records.db")
    with closing(SqliteStore(tmp_path / "records.db")) as store:
        yield Database(settings=Settings(runtime_dir=tmp_path / "run", recorder=recorder), store=store)


@contextmanager
def _postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    recorder = Recorder(url=request.getfixturevalue("fresh_database"))
    postgres.migrate(recorder)
    with closing(PostgresStore(recorder)) as store:
        yield Database(settings=Settings(runtime_dir=tmp_path / "run", recorder=recorder), store=store)


def interception(name: str, *children: tuple[str, dict[str, object]], **changed: object) -> Batch:
    """A sample interception that has ended, and its children: their tables and what is changed in the sample rows."""
    rows = {table: [_row(table, name, more) for kind, more in children if kind == table] for table in CHILDREN}
    return Batch(rows={INTERCEPTIONS: [_values(INTERCEPTIONS, {"id": name, **changed})], **rows})


def opened(name: str, **changed: object) -> Batch:
    """One that has not ended."""
    return interception(name, **{**_OPEN, "open_prompt": "hello", **changed})


def tokens(**changed: object) -> tuple[str, dict[str, object]]:
    return "token_usages", changed


def prompt(**changed: object) -> tuple[str, dict[str, object]]:
    return "user_prompts", changed


def tool(**changed: object) -> tuple[str, dict[str, object]]:
    return "tool_usages", changed


def thought(**changed: object) -> tuple[str, dict[str, object]]:
    return "model_thoughts", changed


def _row(table: str, interception: str, changed: dict[str, object]) -> tuple[object, ...]:
    return _values(table, {"id": f"row-{next(_numbers):06d}", "interception_id": interception, **changed})


def _values(table: str, changed: dict[str, object]) -> tuple[object, ...]:
    row = ROWS[table] | changed
    return tuple(row[column] for column in COLUMNS[table])
