"""Rows into one durable transaction; a row that no database could hold is left out, its neighbours are not."""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from operator import attrgetter

from sidecar.recorder.rows import Row, Statement, Stored, Values

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
_statement = attrgetter("statement")


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
    for statement, group in groupby(rows, key=_statement):
        _write(connection, statement, [row.values for row in group])
    connection.execute("COMMIT")


def _write(connection: sqlite3.Connection, statement: Statement, rows: Sequence[Values]) -> None:
    """Few calls for many rows: after each row of a call of its own the interpreter's lock has to be had again."""
    start = 0
    for count, sql in statement.several.items():
        while len(rows) - start >= count:
            connection.execute(sql, tuple(chain.from_iterable(rows[start : start + count])))
            start += count
    if start < len(rows):
        connection.executemany(statement.sql, rows[start:])


def _one_by_one(connection: sqlite3.Connection, rows: Iterable[Row]) -> list[Stored]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        rejected = [row.record for row in rows if not fits(connection, row.statement.sql, row.values)]
        connection.execute("COMMIT")
    except TROUBLE:
        _roll_back(connection)
        raise
    return rejected


def fits(connection: sqlite3.Connection, sql: str, values: Values) -> bool:
    """Whether a database can hold the row, which then is written, in the transaction that is open. Raises `TROUBLE`."""
    connection.execute("SAVEPOINT one")
    try:
        connection.execute(sql, values)
        held = True
    except UNFIT:
        connection.execute("ROLLBACK TO one")
        held = False
    connection.execute("RELEASE one")
    return held


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
