"""What the client saw and what the journal holds, brought down to the same facts, so that they can be compared."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from openai.types.responses import ResponseUsage
from sqlalchemy import Connection, RowMapping, Table, select

from sidecar.core.privacy import Gate
from sidecar.core.records import Prompt, Tool
from sidecar.probe.asks import Ask, Seen
from sidecar.recorder.reading import journal
from sidecar.recorder.schema import interceptions, token_usages, tool_usages, user_prompts

_LATE = 3.0  # seconds: after one of them a response is let go, however slow the disk
_POLL = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One request with its response. What is None, that side does not know.

    `tokens`: input without the cache's, output, read from and written to the cache; empty: not counted. `tools`: name,
    call id and input of each; an input that is not JSON is itself.
    """

    actor: str | None
    model: str
    streaming: bool
    status: str
    http_status: int | None
    error_type: str | None = None
    prompts: tuple[str, ...] | None = ()
    tokens: tuple[int, ...] = ()
    tools: tuple[tuple[str, str | None, object], ...] = ()


def expected(ask: Ask, seen: Seen, actor: str | None, model: str, gate: Gate) -> Facts:
    """The facts as the client knows them, as far as `gate` lets them be known."""
    response = seen.response
    prompt = Prompt(interception="", at=0.0, msg_id="", text=ask.prompt)
    tools = [_tool(call.name, call.call_id, call.arguments) for call in seen.calls]
    return Facts(
        actor=actor,
        model=model,
        streaming=ask.streaming,
        status="failed" if seen.error else "completed",
        http_status=seen.http_status,
        # Without an answer it is kept or not, by why there is none.
        prompts=tuple(one.text for one in gate([prompt]) if isinstance(one, Prompt)) if response else None,
        tokens=tokens(response.usage) if response and response.usage else (),
        tools=tuple(
            (one.name, one.tool_call_id, _value(one.input or "")) for one in gate(tools) if isinstance(one, Tool)
        ),
    )


def recorded(database: Path, request_id: str) -> Facts | None:
    """The facts as the journal has them; waits a moment for their end. None: no record.

    Raises JournalUnavailable.
    """
    late = time.monotonic() + _LATE
    with journal(database) as engine:
        while True:
            with engine.connect() as connection:
                found = _facts(connection, request_id)
            # The beginning is there before any answer, or never.
            if found is None or found.status != "open" or time.monotonic() > late:
                return found
            time.sleep(_POLL)


def differences(seen: Facts, record: Facts | None) -> tuple[str, ...]:
    """What the record says otherwise than the client, a line each; nothing where they agree."""
    if record is None:
        return ("there is none",)
    return tuple(_differences(seen, record))


def tokens(usage: ResponseUsage) -> tuple[int, int, int, int]:
    """The provider's count as the journal keeps it: input that came from the cache is not counted twice."""
    details = usage.input_tokens_details
    read = (details and details.cached_tokens) or 0
    written = (details and details.cache_write_tokens) or 0
    return max(0, usage.input_tokens - read - written), usage.output_tokens, read, written


def _differences(seen: Facts, record: Facts) -> Iterator[str]:
    for field in fields(Facts):
        was, stands = getattr(seen, field.name), getattr(record, field.name)
        if was is not None and was != stands:
            yield f"{field.name}: {stands!r}, but the client saw {was!r}"


def _facts(connection: Connection, request_id: str) -> Facts | None:
    row = connection.execute(select(interceptions).where(interceptions.c.request_id == request_id)).mappings().first()
    if row is None:
        return None
    usage = _of(connection, token_usages, row)
    return Facts(
        actor=row["initiator_id"],
        model=row["model"],
        streaming=row["streaming"],
        status=row["status"] or "open",
        http_status=row["http_status"],
        error_type=row["error_type"],
        prompts=tuple(prompt["prompt"] for prompt in _of(connection, user_prompts, row)),
        tokens=_tokens(usage[0]) if usage else (),
        tools=tuple(
            (tool["tool"], tool["tool_call_id"], _value(tool["input"] or ""))
            for tool in _of(connection, tool_usages, row)
        ),
    )


def _tool(name: str, call: str, sent: str) -> Tool:
    return Tool(
        interception="", at=0.0, msg_id="", item_id=None, tool_call_id=call, kind="function_call", name=name, input=sent
    )


def _of(connection: Connection, table: Table, row: RowMapping) -> Sequence[RowMapping]:
    wanted = select(table).where(table.c.interception_id == row["id"]).order_by(table.c.id)
    return connection.execute(wanted).mappings().all()


def _tokens(row: RowMapping) -> tuple[int, int, int, int]:
    return (
        row["input_tokens"],
        row["output_tokens"],
        row["cache_read_input_tokens"],
        row["cache_write_input_tokens"],
    )


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
