"""Records as rows: which statement, with which values.

Spelt by hand, not by SQLAlchemy, since every request passes here; a test holds the columns against the schema.
A statement may be repeated: what is there already stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec

from sidecar.core.records import Ended, Prompt, Started, Thought, Tokens, Tool

Stored = Started | Prompt | Tokens | Tool | Thought | Ended
Value = str | int | None
Values = tuple[Value, ...]


# In one call, the most first. Of 19 columns that makes 608 values; a SQLite before 3.32 takes 999.
_AT_ONCE = (32, 16, 8, 4, 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statement:
    """Within a transaction the lower `rank` comes first: an interception, what belongs to it, its end.

    `several`: the same for so many rows at once, by their number, the most first; none where that cannot be said.
    """

    rank: int
    sql: str
    several: Mapping[int, str] = field(default_factory=dict)


class Row(NamedTuple):
    """One record, ready to be written. A tuple, since each request makes several."""

    record: Stored
    statement: Statement
    values: Values


def _insert(rank: int, table: str, columns: str) -> Statement:
    names = columns.split()
    marks = f"({', '.join('?' * len(names))})"

    def sql(count: int) -> str:
        # S608: names from this file alone; the values are bound.
        rows = ", ".join([marks] * count)
        return f"INSERT INTO {table} ({', '.join(names)}) VALUES {rows} ON CONFLICT (id) DO NOTHING"  # noqa: S608

    return Statement(rank=rank, sql=sql(1), several={count: sql(count) for count in _AT_ONCE})


STARTED = _insert(
    0,
    "interceptions",
    "id initiator_id actor_metadata provider provider_name model streaming client client_session_id user_agent "
    "correlating_tool_call_id credential_kind credential_hint request_path started_at request_id worker open_prompt "
    "trace_id",
)
PROMPT = _insert(1, "user_prompts", "id interception_id msg_id prompt created_at")
TOKENS = _insert(
    2,
    "token_usages",
    "id interception_id msg_id input_tokens output_tokens cache_read_input_tokens cache_write_input_tokens extra "
    "provider_model service_tier created_at",
)
TOOL = _insert(
    3,
    "tool_usages",
    "id interception_id msg_id item_id tool_call_id kind tool input server_url injected invocation_error created_at",
)
THOUGHT = _insert(4, "model_thoughts", "id interception_id msg_id source content created_at")
ENDED = Statement(
    rank=5,
    sql="UPDATE interceptions SET ended_at = ?, status = ?, error_type = ?, error_message = ?, http_status = ?, "
    "provider_request_id = ?, open_prompt = NULL WHERE id = ? AND ended_at IS NULL",
)


def row(record: Stored, row_id: str, worker: str) -> Row:
    """The record's row. `row_id`: its own id, where the record knows only its interception's.

    Raises `TypeError`, `ValueError` or `OverflowError` for a value that no row could hold.
    """
    match record:
        case Started():
            return Row(record, STARTED, _started(record, worker))
        case Prompt():
            return Row(record, PROMPT, (row_id, record.interception, record.msg_id, record.text, moment(record.at)))
        case Tokens():
            return Row(record, TOKENS, _tokens(record, row_id))
        case Tool():
            return Row(record, TOOL, _tool(record, row_id))
        case Thought():
            values = (row_id, record.interception, record.msg_id, record.source, record.text, moment(record.at))
            return Row(record, THOUGHT, values)
        case Ended():
            return Row(record, ENDED, _ended(record))
    raise TypeError(type(record))


def moment(at: float) -> str:
    """Seconds since the epoch as SQLite's tables hold them: `YYYY-MM-DDTHH:MM:SS.ffffffZ`, to the microsecond."""
    second, micro = divmod(round(at * 1_000_000), 1_000_000)
    return f"{_second(second)}.{micro:06d}Z"


def seconds(text: str) -> float:
    """What `moment` made such a text of: seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


@lru_cache(maxsize=64)  # the times of one moment's records share their second
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _started(record: Started, worker: str) -> Values:
    return (
        record.interception,
        record.initiator,
        _json(record.actor_metadata),
        record.provider,
        record.provider_name,
        record.model,
        record.streaming,
        record.client,
        record.client_session,
        record.user_agent,
        record.correlating_tool_call,
        record.credential_kind.value,
        record.credential_hint,
        record.request_path,
        moment(record.at),
        record.request_id,
        worker,
        record.prompt,
        record.trace_id,
    )


def _tokens(record: Tokens, row_id: str) -> Values:
    return (
        row_id,
        record.interception,
        record.msg_id,
        record.input,
        record.output,
        record.cache_read,
        record.cache_write,
        _json(record.extra),
        record.provider_model,
        record.service_tier,
        moment(record.at),
    )


def _tool(record: Tool, row_id: str) -> Values:
    return (
        row_id,
        record.interception,
        record.msg_id,
        record.item_id,
        record.tool_call_id,
        record.kind,
        record.name,
        record.input,
        record.server_url,
        record.injected,
        record.invocation_error,
        moment(record.at),
    )


def _ended(record: Ended) -> Values:
    failure = record.failure
    return (
        moment(record.at),
        "failed" if failure else "completed",
        failure.type.value if failure else None,
        failure.message if failure else None,
        record.http_status,
        record.provider_request_id,
        record.interception,
    )


def _json(items: Mapping[str, str] | Mapping[str, int]) -> str:
    return msgspec.json.encode(dict(items)).decode() if items else "{}"
