"""Interceptions as columns: Apache Parquet, what belongs to them as lists of structs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import IO, Any, Final

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]  # it has no types
from pyarrow.parquet import ParquetWriter  # type: ignore[import-untyped]
from sqlalchemy import JSON, BigInteger, Boolean, Column, Integer, Table, Text

from sidecar.recorder.pages import BYTES, NESTED, OPEN_PROMPT, Object, Page
from sidecar.recorder.schema import Moment, interceptions

ROWS: Final = 10_000  # interceptions in a row group; fewer where their texts are long
# JSON stays text: its keys are anybody's, a struct's are few and known.
TYPES: Final = MappingProxyType(
    {
        Text: pa.string(),
        Boolean: pa.bool_(),
        Integer: pa.int32(),
        BigInteger: pa.int64(),
        Moment: pa.timestamp("us", tz="UTC"),
        JSON: pa.string(),
    }
)


@contextmanager
def parquet(file: IO[bytes]) -> Iterator[Callable[[Page], None]]:
    """Call what is given with each page; row groups are written as pages gather."""
    with ParquetWriter(file, _schema(), compression="zstd") as writer:
        groups = _Groups(writer)
        yield groups.add
        groups.end()


class _Groups:
    """Pages become row groups of a sensible size."""

    def __init__(self, writer: ParquetWriter) -> None:
        self._writer = writer
        self._pages: list[pa.Table] = []
        self._rows = self._size = 0

    def add(self, page: Page) -> None:
        rows = [_interception(row) for row in page.interceptions]
        self._pages.append(pa.Table.from_pylist(rows, schema=self._writer.schema))
        self._rows += len(rows)
        self._size += page.size
        if self._rows >= ROWS or self._size >= BYTES:
            self.end()

    def end(self) -> None:
        if self._pages:
            self._writer.write_table(pa.concat_tables(self._pages))
        self._pages, self._rows, self._size = [], 0, 0


def _schema() -> pa.Schema:
    nested = [pa.field(name, pa.list_(pa.struct(_fields(table.c)))) for name, table in NESTED.items()]
    return pa.schema(_fields(column for column in interceptions.c if column.key != OPEN_PROMPT) + nested)


def _fields(columns: Iterable[Column[Any]]) -> list[pa.Field]:
    return [pa.field(column.key, TYPES[type(column.type)]) for column in columns]


def _interception(row: Object) -> Object:
    nested = {name: [_typed(child, table) for child in row[name]] for name, table in NESTED.items()}
    return _typed(row, interceptions) | nested


def _typed(row: Object, table: Table) -> Object:
    return row | {name: typed(row[name]) for name, typed in _CONVERTED[table.name] if row[name] is not None}


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


_CONVERSIONS: Final[Mapping[type, Callable[[Any], object]]] = MappingProxyType(
    {Moment: datetime.fromisoformat, JSON: _text}
)
_CONVERTED: Final = MappingProxyType(
    {
        table.name: [
            (column.key, _CONVERSIONS[type(column.type)]) for column in table.c if type(column.type) in _CONVERSIONS
        ]
        for table in (interceptions, *NESTED.values())
    }
)
