"""Records as the core makes them, and the rows they must become; who hears what a journal tells of itself."""

import itertools
import sqlite3
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import closing
from pathlib import Path

from sidecar.core.records import (
    CredentialKind,
    Ended,
    ErrorType,
    Failure,
    Prompt,
    Record,
    Started,
    Thought,
    Tokens,
    Tool,
)

Logged = Callable[[], MutableMapping[str, object]]
WORKER = "host:127.0.0.1:10000:0"


class Told:
    """A `Watch`: what it was told, in order; a commit's seconds apart."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.seconds: list[float] = []

    def committed(self, seconds: float) -> None:
        self.events.append("committed")
        self.seconds.append(seconds)

    def stalled(self) -> None:
        self.events.append("stalled")

    def unfit(self, records: int) -> None:
        self.events.append(f"unfit {records}")


def started(interception: str = "i-1", prompt: str | None = "hello", at: float = 1_000_000_000.25) -> Started:
    return Started(
        interception=interception,
        at=at,
        initiator="alice",
        actor_metadata={"team": "blue"},
        provider="openai",
        provider_name="openai",
        model="gpt-5",
        streaming=True,
        client="Codex",
        client_session="session-1",
        user_agent="codex/1.0",
        correlating_tool_call=None,
        credential_kind=CredentialKind.CENTRALIZED,
        credential_hint="sk-a...wxyz",
        request_path="/openai/v1/responses",
        request_id="x-1",
        prompt=prompt,
        read_at=at,
        trace_id="0af7651916cd43dd8448eb211c80319c",
    )


def prompt(interception: str = "i-1", text: str = "hello") -> Prompt:
    return Prompt(interception=interception, at=1_000_000_001.5, msg_id="resp_1", text=text)


def tokens(interception: str = "i-1", count: int = 10) -> Tokens:
    return Tokens(
        interception=interception,
        at=1_000_000_001.5,
        msg_id="resp_1",
        input=count,
        output=20,
        cache_read=3,
        cache_write=4,
        extra={"total_tokens": 37},
        provider_model="gpt-5-2026",
        service_tier="default",
    )


def tool(interception: str = "i-1", name: str = "shell") -> Tool:
    return Tool(
        interception=interception,
        at=1_000_000_001.5,
        msg_id="resp_1",
        item_id="fc_1",
        tool_call_id="call_1",
        kind="function_call",
        name=name,
        input='{"command":"ls"}',
    )


def thought(interception: str = "i-1", text: str = "let me see") -> Thought:
    return Thought(interception=interception, at=1_000_000_001.5, msg_id="resp_1", source="commentary", text=text)


def ended(interception: str = "i-1", failure: Failure | None = None) -> Ended:
    return Ended(
        interception=interception, at=1_000_000_002.0, failure=failure, http_status=200, provider_request_id="req_1"
    )


def failed(interception: str = "i-1") -> Ended:
    return ended(interception, Failure(type=ErrorType.SERVER_ERROR, message="the provider answered 500"))


def whole(interception: str) -> tuple[Record, ...]:
    return (prompt(interception), tokens(interception), tool(interception), thought(interception), ended(interception))


def numbered() -> Callable[[], str]:
    """Ids that tell their order."""
    numbers = itertools.count(1)
    return lambda: f"id-{next(numbers):04d}"


def select(database: Path, query: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query, parameters).fetchall()


STARTED_ROW = {
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
    "started_at": "2001-09-09T01:46:40.250000Z",
    "ended_at": None,
    "status": None,
    "error_type": None,
    "error_message": None,
    "http_status": None,
    "request_id": "x-1",
    "provider_request_id": None,
    "worker": WORKER,
    "open_prompt": "hello",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
}
PROMPT_ROW = {
    "id": "id-0001",
    "interception_id": "i-1",
    "msg_id": "resp_1",
    "prompt": "hello",
    "created_at": "2001-09-09T01:46:41.500000Z",
}
TOKENS_ROW = {
    "id": "id-0002",
    "interception_id": "i-1",
    "msg_id": "resp_1",
    "input_tokens": 10,
    "output_tokens": 20,
    "cache_read_input_tokens": 3,
    "cache_write_input_tokens": 4,
    "extra": '{"total_tokens":37}',
    "provider_model": "gpt-5-2026",
    "service_tier": "default",
    "created_at": "2001-09-09T01:46:41.500000Z",
}
TOOL_ROW = {
    "id": "id-0003",
    "interception_id": "i-1",
    "msg_id": "resp_1",
    "item_id": "fc_1",
    "tool_call_id": "call_1",
    "kind": "function_call",
    "tool": "shell",
    "input": '{"command":"ls"}',
    "server_url": None,
    "injected": 0,
    "invocation_error": None,
    "created_at": "2001-09-09T01:46:41.500000Z",
}
THOUGHT_ROW = {
    "id": "id-0004",
    "interception_id": "i-1",
    "msg_id": "resp_1",
    "source": "commentary",
    "content": "let me see",
    "created_at": "2001-09-09T01:46:41.500000Z",
}
ENDED_ROW = STARTED_ROW | {
    "ended_at": "2001-09-09T01:46:42.000000Z",
    "status": "completed",
    "http_status": 200,
    "provider_request_id": "req_1",
    "open_prompt": None,
}


def table(database: Path, name: str) -> list[dict[str, object]]:
    """Every row of a table, by id."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY id")]  # noqa: S608 - a test's
