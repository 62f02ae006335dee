"""What goes on from a journal to a store: rows of interceptions, as the tables hold them.

journal ─ Backlog.ended, .opened ─▶ Batch ─ Store.put ─▶ PostgreSQL │ SQLite │ the Recorder service
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from sidecar.core.errors import SidecarError
from sidecar.recorder.rows import Values
from sidecar.recorder.schema import metadata

INTERCEPTIONS: Final = "interceptions"
CHILDREN: Final = ("user_prompts", "token_usages", "tool_usages", "model_thoughts")
TABLES: Final = (INTERCEPTIONS, *CHILDREN)  # in the order in which they are written
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {table: tuple(metadata.tables[table].columns.keys()) for table in TABLES}
)
# What an interception's end sets, in the order of `Batch.ends`; the last names the interception.
END_COLUMNS: Final = ("ended_at", "status", "error_type", "error_message", "http_status", "provider_request_id", "id")


class StoreUnavailable(SidecarError):
    """The store's fault, or the way's to it: nothing of a batch counts as stored, and it may be tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows by table, values in the order of `COLUMNS` and as SQLite holds them (`rows`): times and JSON as text.

    `ends`: ends of interceptions whose rows came earlier.
    """

    rows: Mapping[str, Sequence[Values]]
    ends: Sequence[Values] = field(default=())

    def ids(self) -> frozenset[str]:
        """Every row's id, and those of the interceptions that are ended."""
        ids = {str(row[0]) for rows in self.rows.values() for row in rows}
        return frozenset(ids | {str(end[-1]) for end in self.ends})


class Store(Protocol):
    """Where records stay. Used by one thread at a time."""

    def put(self, batch: Batch) -> frozenset[str]:
        """Make the batch durable; return the ids of rows that the store can never hold. Raises `StoreUnavailable`.

        What is there already stays as it is, so that a batch may be put again; but an open interception is ended by a
        row that has its end.
        """

    def close(self) -> None:
        """Let go of the connection. Never raises."""
