"""Interceptions of some age and actor, with all that belongs to them, as rows of a batch."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sidecar.ids import Ids
from sidecar.recorder.batches import CHILDREN, COLUMNS, INTERCEPTIONS, TABLES, Batch
from sidecar.recorder.rows import Value, Values, moment
from tests.recorder import journal_samples as samples

DAY = datetime(2021, 3, 15, tzinfo=UTC)
_CHILD_ROWS: Mapping[str, Mapping[str, object]] = {
    "user_prompts": samples.PROMPT_ROW,
    "token_usages": samples.TOKENS_ROW,
    "tool_usages": samples.TOOL_ROW,
    "model_thoughts": samples.THOUGHT_ROW,
}


def interception(  # noqa: PLR0913 - what the tests differ in
    name: str,
    started: datetime,
    actor: str = "alice",
    *,
    lasted: timedelta | None = timedelta(seconds=1),
    text: str = "hello",
    children: Sequence[str] = CHILDREN,
) -> Batch:
    """`lasted`: None while it is open. Its children came at its end, or as it started."""
    end = started + (lasted or timedelta())
    row = samples.STARTED_ROW | {"id": name, "initiator_id": actor, "started_at": _text(started), "open_prompt": text}
    if lasted is not None:
        row |= {"ended_at": _text(end), "status": "completed", "http_status": 200, "open_prompt": None}
    rows = {table: [child(table, name, end, text)] for table in children}
    return Batch(rows={INTERCEPTIONS: [_values(INTERCEPTIONS, row)], **rows})


def child(table: str, interception: str, at: datetime, text: str = "hello") -> Values:
    """A row that belongs to it, with an id of its time."""
    told = {"prompt": text, "content": text, "input": text}
    row = dict(_CHILD_ROWS[table])
    row |= {column: value for column, value in told.items() if column in row}
    row |= {"id": Ids(at.timestamp)(), "interception_id": interception, "created_at": _text(at)}
    return _values(table, row)


def together(*batches: Batch) -> Batch:
    return Batch(rows={table: [row for batch in batches for row in batch.rows.get(table, ())] for table in TABLES})


def _values(table: str, row: Mapping[str, object]) -> Values:
    return tuple(_value(row[column]) for column in COLUMNS[table])


def _value(value: object) -> Value:
    assert value is None or isinstance(value, str | int)
    return value


def _text(at: datetime) -> str:
    return moment(at.timestamp())
