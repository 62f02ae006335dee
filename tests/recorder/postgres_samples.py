"""Batches, and what PostgreSQL makes of them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sidecar.recorder.batches import COLUMNS, END_COLUMNS, TABLES, Batch
from sidecar.recorder.rows import Values
from sidecar.settings import Recorder
from tests.postgres import execute
from tests.recorder import journal_samples as samples

ROWS: Mapping[str, dict[str, Any]] = {
    "interceptions": samples.ENDED_ROW,
    "user_prompts": samples.PROMPT_ROW,
    "token_usages": samples.TOKENS_ROW,
    "tool_usages": samples.TOOL_ROW,
    "model_thoughts": samples.THOUGHT_ROW,
}
OPEN = samples.STARTED_ROW
STARTED_AT = datetime(2001, 9, 9, 1, 46, 40, 250_000, tzinfo=UTC)
CREATED_AT = datetime(2001, 9, 9, 1, 46, 41, 500_000, tzinfo=UTC)
ENDED_AT = datetime(2001, 9, 9, 1, 46, 42, tzinfo=UTC)


def recorder(url: str) -> Recorder:
    return Recorder(url=url)


def row(table: str, **changed: object) -> Values:
    """A sample row with some of its values changed."""
    return values(table, ROWS[table] | changed)


def values(table: str, named: Mapping[str, Any]) -> Values:
    return tuple(named[column] for column in COLUMNS[table])


def one_of_each() -> Batch:
    return Batch(rows={table: [row(table)] for table in TABLES})


def prompts(*texts: str) -> Batch:
    """Prompts whose ids tell their order."""
    return Batch(rows={"user_prompts": [row("user_prompts", id=f"p-{n}", prompt=text) for n, text in enumerate(texts)]})


def end(interception: str = "i-1") -> Values:
    return tuple({**samples.ENDED_ROW, "id": interception}[column] for column in END_COLUMNS)


def found(url: str, table: str) -> list[dict[str, Any]]:
    """Every row of a table, by id."""
    columns = ", ".join(COLUMNS[table])
    rows = execute(url, f"SELECT {columns} FROM {table} ORDER BY id, {columns}")  # noqa: S608 - a test's
    return [dict(zip(COLUMNS[table], values, strict=True)) for values in rows]


def ids(url: str, table: str) -> list[str]:
    return [one["id"] for one in found(url, table)]
