"""Rows as a journal may hold them, and the batches they make."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from hypothesis import strategies as st

from sidecar.recorder.batches import CHILDREN, COLUMNS, END_COLUMNS, INTERCEPTIONS, TABLES, Batch
from sidecar.recorder.rows import Value, Values

AT, LATER = "2026-03-01T10:20:30.123456Z", "2026-03-01T10:20:31.000000Z"
STARTED: Mapping[str, Value] = {
    "id": "i-1",
    "initiator_id": "alice",
    "actor_metadata": '{"team":"blue"}',
    "provider": "openai",
    "provider_name": "openai",
    "model": "gpt-5",
    "streaming": 1,
    "client": "Codex",
    "client_session_id": "session-1",
    "user_agent": "codex/1.0",
    "correlating_tool_call_id": None,
    "credential_kind": "centralized",
    "credential_hint": "sk-a...wxyz",
    "request_path": "/openai/v1/responses",
    "started_at": AT,
    "ended_at": None,
    "status": None,
    "error_type": None,
    "error_message": None,
    "http_status": None,
    "request_id": "x-1",
    "provider_request_id": None,
    "worker": "host:127.0.0.1:10000:0",
    "open_prompt": "hello",
    "trace_id": None,
}
END: Mapping[str, Value] = {
    "ended_at": LATER,
    "status": "completed",
    "http_status": 200,
    "provider_request_id": "req_1",
    "open_prompt": None,
}


def opened(interception: str = "i-1", **values: Value) -> Values:
    return tuple((STARTED | {"id": interception} | values)[column] for column in COLUMNS[INTERCEPTIONS])


def ended(interception: str = "i-1", **values: Value) -> Values:
    return opened(interception, **(END | values))


def end(interception: str = "i-1") -> Values:
    return tuple((STARTED | END | {"id": interception})[column] for column in END_COLUMNS)


def prompt(row_id: str = "p-1", interception: str = "i-1", text: str = "hello") -> Values:
    return (row_id, interception, "resp_1", text, LATER)


def tokens(row_id: str = "t-1", interception: str = "i-1", **values: Value) -> Values:
    row: dict[str, Value] = dict.fromkeys(COLUMNS["token_usages"])
    row |= {"id": row_id, "interception_id": interception, "msg_id": "resp_1", "created_at": LATER}
    row |= {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 3, "cache_write_input_tokens": 4}
    row |= {"extra": '{"input_cached":3,"total_tokens":37}', "provider_model": "gpt-5-2026"} | values
    return tuple(row[column] for column in COLUMNS["token_usages"])


def tool(row_id: str = "u-1", interception: str = "i-1") -> Values:
    call = ("fc_1", "call_1", "function_call", "shell", '{"command":"ls"}')
    return (row_id, interception, "resp_1", *call, None, 0, None, LATER)


def thought(row_id: str = "m-1", interception: str = "i-1") -> Values:
    return (row_id, interception, "resp_1", "commentary", "let me see", LATER)


def whole(interception: str = "i-1") -> Batch:
    """An interception with one of each kind; ids of its own."""
    children = (prompt, tokens, tool, thought)
    rows = {
        table: [make(f"{interception}-{at}", interception)]
        for at, (table, make) in enumerate(zip(CHILDREN, children, strict=True))
    }
    return Batch(rows={INTERCEPTIONS: [ended(interception)], **rows})


def together(*batches: Batch) -> Batch:
    rows = {table: [row for batch in batches for row in batch.rows.get(table, ())] for table in TABLES}
    return Batch(rows=rows, ends=[row for batch in batches for row in batch.ends])


def as_sets(batch: Batch) -> dict[str, set[Values]]:
    """A batch without what is no difference: the order of rows, tables without any."""
    found = {table: set(rows) for table, rows in batch.rows.items()} | {"ends": set(batch.ends)}
    return {name: rows for name, rows in found.items() if rows}


ids = st.from_regex(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}", fullmatch=True)
# Four bytes each at most, so that none is longer than any column takes; a lone surrogate or U+0000 no journal holds.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
perhaps = st.none() | texts
counts = st.integers(0, 2**63 - 1)
flags = st.integers(0, 1)
moments = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)).map(  # noqa: DTZ001 - UTC
    lambda at: f"{at.isoformat(timespec='microseconds')}Z"
)


def documents(values: st.SearchStrategy[str] | st.SearchStrategy[int]) -> st.SearchStrategy[str]:
    found = st.dictionaries(texts, values, max_size=4)
    return found.map(lambda items: msgspec.json.encode(items, order="deterministic").decode())


def ending(is_ended: bool) -> st.SearchStrategy[dict[str, Value]]:  # noqa: FBT001 - mapped over
    if not is_ended:
        fields = {name: st.none() for name in END_COLUMNS[:-1]} | {"open_prompt": perhaps}
    else:
        fields = {
            "ended_at": moments,
            "status": st.sampled_from(["completed", "failed"]),
            "error_type": perhaps,
            "error_message": perhaps,
            "http_status": st.none() | st.integers(0, 2**31 - 1),
            "provider_request_id": perhaps,
            "open_prompt": st.none(),
        }
    return st.fixed_dictionaries(fields)


SPECIAL: Mapping[str, st.SearchStrategy[Value]] = {
    "id": ids,
    "interception_id": ids,
    "actor_metadata": documents(texts),
    "extra": documents(counts),
    "streaming": flags,
    "injected": flags,
    "started_at": moments,
    "created_at": moments,
} | dict.fromkeys(
    ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens"), counts
) | dict.fromkeys(
    ("client_session_id", "user_agent", "correlating_tool_call_id", "request_id", "provider_model", "service_tier",
     "item_id", "tool_call_id", "input", "server_url", "invocation_error"), perhaps,
)  # fmt: skip


def rows(table: str) -> st.SearchStrategy[list[Values]]:
    fields = {column: SPECIAL.get(column, texts) for column in COLUMNS[table]}
    found: st.SearchStrategy[dict[str, Value]] = st.fixed_dictionaries(fields)
    if table == INTERCEPTIONS:
        found = st.builds(lambda row, how: row | how, found, st.booleans().flatmap(ending))
    ordered = found.map(lambda row: tuple(row[column] for column in COLUMNS[table]))
    return st.lists(ordered, max_size=2, unique_by=lambda row: row[0])


def ends() -> st.SearchStrategy[list[Values]]:
    found = st.builds(lambda row, name: row | {"id": name}, ending(is_ended=True), ids)
    return st.lists(
        found.map(lambda row: tuple(row[column] for column in END_COLUMNS)), max_size=2, unique_by=lambda row: row[-1]
    )


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    found = {table: draw(rows(table)) for table in TABLES}
    present = {row[0] for row in found[INTERCEPTIONS]}
    return Batch(rows=found, ends=[row for row in draw(ends()) if row[-1] not in present])
