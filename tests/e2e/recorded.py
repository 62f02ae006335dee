"""What the journal holds of an interception."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.waiting import eventually

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One interception with what belongs to it, each in its order."""

    interception: Row
    prompts: list[Row]
    tokens: list[Row]
    tools: list[Row]
    thoughts: list[Row]

    @property
    def ended(self) -> tuple[str | None, str | None, int | None]:
        """Status, error type and HTTP status; all None while it is open."""
        return self.interception["status"], self.interception["error_type"], self.interception["http_status"]

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The prompts: response id and text."""
        return [(row["msg_id"], row["prompt"]) for row in self.prompts]


class Records:
    """Who has a `database` of records, as tests ask for them."""

    database: Path

    def sessions(self, session: str) -> list[Recorded]:
        """The interceptions of this session, now."""
        return sessions(self.database, session)

    def session(self, session: str) -> Recorded:
        """The one interception of this session, which has ended by now."""
        (found,) = self.sessions(session)
        assert found.interception["ended_at"]
        return found

    def ending(self, session: str) -> Recorded:
        """The one interception of this session, as soon as it has ended."""
        eventually(lambda: [one for one in self.sessions(session) if one.interception["ended_at"]], "an end")
        return self.session(session)


def rows(database: Path, sql: str, *values: object) -> list[Row]:
    """What a reader, who never waits for the writer, finds."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql, values)]


def sessions(database: Path, session: str) -> list[Recorded]:
    """The interceptions of a session, in the order in which they started."""
    found = rows(database, "SELECT * FROM interceptions WHERE client_session_id = ? ORDER BY id", session)
    return [_recorded(database, row) for row in found]


def told(recorded: Recorded) -> dict[str, Any]:
    """The same in the words of a transcript's `expected`."""
    interception = recorded.interception
    return {
        "started": {
            "model": interception["model"],
            "correlating_tool_call": interception["correlating_tool_call_id"],
            "streaming": bool(interception["streaming"]),
        },
        "prompt": _only([{"msg_id": row["msg_id"], "text": row["prompt"]} for row in recorded.prompts]),
        "tokens": _only([_tokens(row) for row in recorded.tokens]),
        "tools": [_tool(row) for row in recorded.tools],
        "thoughts": [
            {"msg_id": row["msg_id"], "source": row["source"], "text": row["content"]} for row in recorded.thoughts
        ],
        "ended": {"failure": interception["error_type"], "http_status": interception["http_status"]},
    }


def _recorded(database: Path, interception: Row) -> Recorded:
    def of(table: str) -> list[Row]:
        sql = f"SELECT * FROM {table} WHERE interception_id = ? ORDER BY id"  # noqa: S608 - our own table names
        return rows(database, sql, interception["id"])

    return Recorded(
        interception=interception,
        prompts=of("user_prompts"),
        tokens=of("token_usages"),
        tools=of("tool_usages"),
        thoughts=of("model_thoughts"),
    )


def _only(found: list[Row]) -> Row | list[Row] | None:
    return found[0] if len(found) == 1 else found or None


def _tokens(row: Row) -> Row:
    return {
        "msg_id": row["msg_id"],
        "input": row["input_tokens"],
        "output": row["output_tokens"],
        "cache_read": row["cache_read_input_tokens"],
        "cache_write": row["cache_write_input_tokens"],
        "extra": json.loads(row["extra"]),
        "provider_model": row["provider_model"],
        "service_tier": row["service_tier"],
    }


def _tool(row: Row) -> Row:
    return {
        "msg_id": row["msg_id"],
        "item_id": row["item_id"],
        "tool_call_id": row["tool_call_id"],
        "kind": row["kind"],
        "name": row["tool"],
        "input": row["input"],
    }
