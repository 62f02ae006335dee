"""What is told to PostgreSQL for a batch: one statement a table, made from the schema, its values in arrays.

Arrays of text, whatever the column: they are sent in binary, which costs a tenth of psycopg's text arrays, and the
server reads each value as its column's type, so that one that is none is the server's to refuse.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sqlalchemy import make_url

from sidecar.recorder.batches import COLUMNS, END_COLUMNS, INTERCEPTIONS, TABLES
from sidecar.recorder.rows import Value, Values
from sidecar.recorder.schema import metadata

_DIALECT: Final = make_url("postgresql+psycopg://").get_dialect()()
_OPEN: Final = "interceptions.ended_at IS NULL"
_ENDS: Final = END_COLUMNS[:-1]


def arrays(rows: Sequence[Values]) -> list[list[str | None]]:
    """The rows' values by column, as `INSERT` and `END` take them."""
    return [[_text(value) for value in column] for column in zip(*rows, strict=True)]


def _text(value: Value) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _cast(table: str, column: str) -> str:
    return f"CAST(v.{column} AS {metadata.tables[table].columns[column].type.compile(_DIALECT)})"


def _source(columns: Sequence[str]) -> str:
    return f"unnest({', '.join('%b::text[]' for _ in columns)}) AS v ({', '.join(columns)})"


# S608, here and below: names from the schema alone; the values are bound.
def _insert(table: str) -> str:
    columns = COLUMNS[table]
    values = ", ".join(_cast(table, column) for column in columns)
    insert = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {_source(columns)}"  # noqa: S608
    if table != INTERCEPTIONS:
        return f"{insert} ON CONFLICT (id, created_at) DO NOTHING"
    ends = ", ".join(f"{column} = excluded.{column}" for column in _ENDS)
    update = f"DO UPDATE SET {ends}, open_prompt = NULL WHERE {_OPEN} AND excluded.ended_at IS NOT NULL"
    return f"{insert} ON CONFLICT (id, started_at) {update}"


def _end() -> str:
    ends = ", ".join(f"{column} = {_cast(INTERCEPTIONS, column)}" for column in _ENDS)
    where = f"interceptions.id = v.id AND {_OPEN}"
    return f"UPDATE interceptions SET {ends}, open_prompt = NULL FROM {_source(END_COLUMNS)} WHERE {where}"  # noqa: S608


# The rows of a table that are not there yet; of interceptions also the ends of those that were open.
INSERT: Final[Mapping[str, str]] = MappingProxyType({table: _insert(table) for table in TABLES})
# The ends of interceptions that are there and open.
END: Final = _end()
# Of these ids those that no interception has.
MISSING: Final = """
SELECT wanted.id FROM unnest(%b::text[]) AS wanted (id)
WHERE NOT EXISTS (SELECT FROM interceptions WHERE interceptions.id = wanted.id)
"""
