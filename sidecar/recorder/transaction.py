"""Rows into one durable transaction; a row that no database could hold is left out, its neighbours are not."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter

from sidecar.recorder.rows import Row, Stored

# A value's fault: trying again would change nothing. (Not a number, beyond 64 bits, a type SQLite does not know, a
# lone surrogate, longer than SQLite's limit, NULL where none may be.)
UNFIT = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
# The disk's or another process's fault: it passes. Whoever names both names UNFIT first.
TROUBLE = (sqlite3.Error, MemoryError)

_by_rank = attrgetter("statement.rank")
_values = itemgetter(2)


def commit(connection: sqlite3.Connection, rows: Sequence[Row]) -> list[Stored]:
    """Writes the rows and waits for the disk; returns the records that had to be left out.

    Interceptions come before what belongs to them and their ends, rows of one kind in the order given. Raises one of
    `TROUBLE`, and then nothing was written.
    """
    ordered = sorted(rows, key=_by_rank)
    try:
        _together(connection, ordered)
    except UNFIT:
        _roll_back(connection)
        return _one_by_one(connection, ordered)
    except TROUBLE:
        _roll_back(connection)
        raise
    return []


def _together(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    if len(rows) == 1:  # the start of a quiet moment's request: a transaction by itself, two calls less
        connection.execute(rows[0].statement.sql, rows[0].values)
        return
    connection.execute("BEGIN IMMEDIATE")
    for sql, group in _groups(rows):
        connection.executemany(sql, map(_values, group))
    connection.execute("COMMIT")


def _groups(rows: Iterable[Row]) -> Iterator[tuple[str, Iterator[Row]]]:
    return groupby(rows, key=attrgetter("statement.sql"))


def _one_by_one(connection: sqlite3.Connection, rows: Iterable[Row]) -> list[Stored]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        rejected = [row.record for row in rows if not _fits(connection, row)]
        connection.execute("COMMIT")
    except TROUBLE:
        _roll_back(connection)
        raise
    return rejected


def _fits(connection: sqlite3.Connection, row: Row) -> bool:
    connection.execute("SAVEPOINT one")
    try:
        connection.execute(row.statement.sql, row.values)
        fits = True
    except UNFIT:
        connection.execute("ROLLBACK TO one")
        fits = False
    connection.execute("RELEASE one")
    return fits


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
