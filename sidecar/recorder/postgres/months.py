"""The months of the tables in PostgreSQL: each is a partition of its own, so that forgetting one is no work.

    interceptions ── RANGE (started_at) ──▶ interceptions_2026_01, interceptions_2026_02, …   (UTC)
    token_usages  ── RANGE (created_at) ──▶ token_usages_2026_01, …

Made when the first row of a month comes. There is none for all the rest: making a month would have to search it.
"""

import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine

from sidecar.recorder.batches import COLUMNS, INTERCEPTIONS, TABLES, Batch

# Advisory locks of ours: "aibr" and which.
MIGRATING: Final = "SELECT pg_advisory_xact_lock(1634296434, 1)"
_ADDING: Final = "SELECT pg_advisory_xact_lock(1634296434, 2)"
KEEPING: Final = "SELECT pg_advisory_xact_lock_shared(1634296434, 3)"  # until the transaction's end no month is dropped
_DROPPING: Final = "SELECT pg_advisory_lock(1634296434, 3)"
_PATIENCE: Final = "SET lock_timeout = '30s'"  # for those who still read a month that goes

# Runs a statement and gives its rows: `execute` of psycopg's connection, `exec_driver_sql` of SQLAlchemy's.
Run = Callable[[str], Iterable[Any]]

_NAME: Final = re.compile(rf"({'|'.join(TABLES)})_([0-9]{{4}})_([0-9]{{2}})")
_FOUND: Final = """
SELECT child.relname, child.relispartition, coalesce(tie.inhdetachpending, false)
FROM pg_class AS parent
JOIN pg_class AS child ON child.relnamespace = parent.relnamespace AND child.relkind = 'r'
LEFT JOIN pg_inherits AS tie ON tie.inhrelid = child.oid
WHERE parent.oid = to_regclass('interceptions')
"""
_AT: Final = {table: COLUMNS[table].index("started_at" if table == INTERCEPTIONS else "created_at") for table in TABLES}


class _Partition(NamedTuple):
    """By its name, attached or not: what an interrupted drop has left over is still there, and still to be dropped."""

    table: str
    month: date
    is_attached: bool
    is_leaving: bool  # an interrupted DETACH … CONCURRENTLY

    @property
    def name(self) -> str:
        return _name(self.table, self.month)


def following(month: date) -> date:
    """The first day of the next month."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def touched(batch: Batch) -> frozenset[date]:
    """The first days of the months that the batch's rows belong to; a moment that is none has none."""
    written = {str(row[_AT[table]])[:7] for table, rows in batch.rows.items() for row in rows}
    return frozenset(month for text in written if (month := _month(text)))


def add(run: Run, months: Iterable[date]) -> None:
    """Make what is missing of these months, within the transaction that is under way. Several may do it at once.

    It keeps neither readers nor writers waiting, and takes a role that owns the tables only when something is missing.
    """
    if not _missing(run, months):
        return
    run(_ADDING)
    for partition in _missing(run, months):
        if partition.is_leaving:
            run(f"ALTER TABLE {partition.table} DETACH PARTITION {partition.name} FINALIZE")
        # CREATE TABLE … PARTITION OF would lock the whole table against everybody.
        run(f"CREATE TABLE IF NOT EXISTS {partition.name} (LIKE {partition.table} INCLUDING ALL)")
        first, end = (f"'{month.isoformat()} 00:00:00+00'" for month in (partition.month, following(partition.month)))
        attach = f"ATTACH PARTITION {partition.name} FOR VALUES FROM ({first}) TO ({end})"
        run(f"ALTER TABLE {partition.table} {attach}")


def months(engine: Engine) -> list[tuple[str, date]]:
    """Every partition's name with its month's first day, oldest first. Raises SQLAlchemy's `DBAPIError`."""
    with engine.connect() as connection:
        found = _partitions(connection.exec_driver_sql(_FOUND))
    return [(partition.name, partition.month) for partition in found]


def drop_months(engine: Engine, before: date) -> list[str]:
    """Drop the partitions whose whole month lies before that day (UTC); return their names, oldest first.

    Writers and readers are not kept waiting; it waits for those who still read such a month, half a minute each. What
    an interrupted call left undone is done by the next. Several may be called at once. Raises `DBAPIError`.
    """
    dropped: list[str] = []
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(_PATIENCE)
        connection.exec_driver_sql(_DROPPING)  # until the connection ends
        for partition in _partitions(connection.exec_driver_sql(_FOUND)):
            if following(partition.month) > before:
                continue
            if partition.is_attached:
                how = "FINALIZE" if partition.is_leaving else "CONCURRENTLY"
                connection.exec_driver_sql(f"ALTER TABLE {partition.table} DETACH PARTITION {partition.name} {how}")
            connection.exec_driver_sql(f"DROP TABLE {partition.name}")
            dropped.append(partition.name)
        connection.invalidate()
    return dropped


def _missing(run: Run, wanted: Iterable[date]) -> list[_Partition]:
    there = {partition.name: partition for partition in _partitions(run(_FOUND))}
    new = (_Partition(table, month, is_attached=False, is_leaving=False) for month in wanted for table in TABLES)
    found = (there.get(partition.name, partition) for partition in new)
    return [partition for partition in found if partition.is_leaving or not partition.is_attached]


def _partitions(rows: Iterable[Any]) -> list[_Partition]:
    found = [
        _Partition(parts[1], month, is_attached=is_attached, is_leaving=is_leaving)
        for name, is_attached, is_leaving in rows
        if (parts := _NAME.fullmatch(name)) and (month := _month(f"{parts[2]}-{parts[3]}"))
    ]
    return sorted(found, key=lambda partition: (partition.month, partition.table))


def _name(table: str, month: date) -> str:
    return f"{table}_{month.year:04d}_{month.month:02d}"


def _month(text: str) -> date | None:
    try:
        month = date.fromisoformat(f"{text}-01")
        following(month)
    except ValueError:  # no month, or the calendar's last
        return None
    return month
