"""The tables: columns, types and indexes from the schema, what they mean from the Recorder's contract."""

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import Column, Index, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex

from docs.generate.contract import FILE, contract
from docs.generate.tables import code, table, whole
from sidecar.recorder.schema import metadata

_INTRODUCTION = """
The tables that every store has, SQLite or PostgreSQL. There are no foreign keys; `interception_id` ties the rows
together. Ids are UUIDv7. SQLite keeps times as text of one width, `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always UTC. In
PostgreSQL each table is partitioned by month ([stores](../stores.md)), and the time that decides belongs to the primary
key. Which of this is kept, and in which form, `recorder.content` and `recorder.mask` decide
([privacy](../privacy.md)).
"""
# Which messages of the contract fill a table.
MESSAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "interceptions": ("Started", "Ended"),
    "user_prompts": ("Prompt",),
    "token_usages": ("TokenUsage",),
    "tool_usages": ("ToolUsage",),
    "model_thoughts": ("ModelThought",),
}
# Columns that another field of the contract tells about.
_ELSEWHERE: Final = {
    "user_prompts.prompt": "text",
    "created_at": "at",
    "started_at": "at",
    "ended_at": "at",
}
_DIALECTS: Final = {"SQLite": sqlite.dialect(), "PostgreSQL": postgresql.dialect()}


def page() -> str:
    """The page, complete."""
    tables = (part for one in metadata.sorted_tables for part in _table(one))
    return whole("Data dictionary", _INTRODUCTION, *tables, source=f"sidecar/recorder/schema.py and proto/{FILE}")


def meaning(told: Mapping[str, str], name: str, column: str) -> str:
    """What the contract says of a column. Raises KeyError where it says nothing."""
    field = _ELSEWHERE.get(f"{name}.{column}") or _ELSEWHERE.get(column) or column
    return told[field]


def _told(name: str) -> dict[str, str]:
    """What the contract says of the fields that fill a table."""
    read = contract()
    return {field.name: said for message in ("Record", *MESSAGES[name]) for field, said in read.fields(message)}


def _table(one: Table) -> Iterator[str]:
    told = _told(one.name)
    filled = ", ".join(f"[{message}](recorder.md#{message.lower()})" for message in MESSAGES[one.name])
    yield f"## `{one.name}`"
    yield f"Filled by {filled}."
    rows = (_column(column, meaning(told, one.name, column.name)) for column in one.columns)
    yield table("column", *_DIALECTS, "null", "", rows=rows)
    yield "Indexes:"
    yield "\n".join(f"- {_index(index)}" for index in sorted(one.indexes, key=lambda index: str(index.name)))


def _column(column: Column[object], said: str) -> list[str]:
    types = [code(column.type.compile(dialect=dialect)) for dialect in _DIALECTS.values()]
    key = "primary key" if column.primary_key else "yes" if column.nullable else "no"
    return [code(column.name), *types, key, said]


def _index(index: Index) -> str:
    return code(str(CreateIndex(index).compile(dialect=_DIALECTS["PostgreSQL"])).removeprefix("CREATE INDEX "))
