"""Databases as stores, for tests that hold for each: filled as a forwarder fills them, read as a command reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Connection

from sidecar.recorder import migration, postgres, reading
from sidecar.recorder.batches import CHILDREN, COLUMNS, INTERCEPTIONS, Batch, Store
from sidecar.recorder.postgres import PostgresStore
from sidecar.recorder.sqlite_store import SqliteStore
from sidecar.settings import Recorder, Settings
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

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        with reading.store(self.settings) as engine, engine.connect() as connection:
            yield connection


@contextmanager
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty one of the kind that `request` has as its parameter, with the newest schema."""
    if request.param == "sqlite":
        recorder = Recorder(url=f"sqlite:///{tmp_path}/records.db")
        migration.migrate(tmp_path / "records.db")
        store: Store = SqliteStore(tmp_path / "records.db")
    else:
        recorder = Recorder(url=request.getfixturevalue("fresh_database"))
        postgres.migrate(recorder)
        store = PostgresStore(recorder)
    yield Database(settings=Settings(runtime_dir=tmp_path / "run", recorder=recorder), store=store)
    store.close()


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
