"""Records as log lines, for whoever gathers them from there. The fields are a promise: `docs/observability/logs.md`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from sidecar.core.records import Ended, Prompt, Record, Started, Thought, Tokens, Tool

log = structlog.get_logger()

MESSAGE: Final = "interception log"
Field = str | int | bool | None | Mapping[str, str] | Mapping[str, int]
Line = dict[str, Field]


class Lines:
    """An observer that says each record as a line."""

    __slots__ = ("_moment",)

    def __init__(self, moment: Callable[[float], str]) -> None:
        """`moment` writes a time (seconds since the epoch) as the tables do."""
        self._moment = moment

    def __call__(self, records: Sequence[Record]) -> None:
        """Say the `records`, as the gate let them; those that are not stored have no line."""
        for record in records:
            if found := line(record, self._moment):
                log.info(MESSAGE, **found)


def line(record: Record, moment: Callable[[float], str]) -> Line | None:
    """The fields of the record's line; None: it has none."""
    match record:
        case Started():
            return _started(record, moment)
        case Ended():
            return _ended(record, moment)
        case Tokens():
            said = _tokens(record)
        case Prompt():
            said = {"record_type": "prompt_usage", "msg_id": record.msg_id, "prompt": record.text, "metadata": {}}
        case Tool():
            said = _tool(record)
        case Thought():
            said = {"record_type": "model_thought", "content": record.text, "metadata": {"source": record.source}}
        case _:
            return None
    return said | {"interception_id": record.interception, "created_at": moment(record.at)}


def _started(record: Started, moment: Callable[[float], str]) -> Line:
    return {
        "record_type": "interception_start",
        "interception_id": record.interception,
        "initiator_id": record.initiator,
        "provider": record.provider,
        "model": record.model,
        "client": record.client,
        "client_session_id": record.client_session,
        "started_at": moment(record.at),
        "metadata": dict(record.actor_metadata),
        "correlating_tool_call_id": record.correlating_tool_call,
    }


def _ended(record: Ended, moment: Callable[[float], str]) -> Line:
    return {
        "record_type": "interception_end",
        "interception_id": record.interception,
        "ended_at": moment(record.at),
        "status": "failed" if record.failure else "completed",
        "error_type": record.failure.type.value if record.failure else None,
    }


def _tokens(record: Tokens) -> Line:
    return {
        "record_type": "token_usage",
        "msg_id": record.msg_id,
        "input_tokens": record.input,
        "output_tokens": record.output,
        "cache_read_input_tokens": record.cache_read,
        "cache_write_input_tokens": record.cache_write,
        "metadata": dict(record.extra),
    }


def _tool(record: Tool) -> Line:
    return {
        "record_type": "tool_usage",
        "msg_id": record.msg_id,
        "tool_call_id": record.tool_call_id,
        "item_id": record.item_id,
        "tool": record.name,
        "input": record.input,
        "server_url": record.server_url,
        "injected": record.injected,
        "invocation_error": record.invocation_error,
        "metadata": {"kind": record.kind},
    }
