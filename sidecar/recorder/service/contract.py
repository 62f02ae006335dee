"""Rows as the public contract tells them (`proto/aibridge/recorder/v1`), and back.

    rows ─ records ─▶ Started, what belongs to it, Ended ─ batch ─▶ rows

A message's fields are called as their columns. What comes in is anybody's who has a certificate: texts are made fit
and cut like those of a client's request, and what is malformed is named, not raised.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.core.text import ID_BYTES, clamp, clean
from sidecar.pb.aibridge.recorder.v1 import recorder_pb2 as pb
from sidecar.recorder.batches import CHILDREN, COLUMNS, END_COLUMNS, INTERCEPTIONS, TABLES, Batch
from sidecar.recorder.rows import Value, Values
from sidecar.recorder.usage import COUNTS, Prices, Totals, Usage
from sidecar.recorder.usage.sums import GROUPINGS

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Recorder"].full_name
MOST_RECORDS: Final = 10_000  # in one request
MOST_BYTES: Final = 4_194_304  # of one request, that every service takes: what gRPC takes unless told otherwise

STARTED, ENDED = "started", "ended"
KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "user_prompts": "prompt",
        "token_usages": "token_usage",
        "tool_usages": "tool_usage",
        "model_thoughts": "model_thought",
    }
)
_TABLES: Final = {kind: table for table, kind in KINDS.items()} | {STARTED: INTERCEPTIONS}
_TIMES: Final = dict.fromkeys(KINDS.values(), "created_at") | {STARTED: "started_at", ENDED: "ended_at"}
_COLUMN: Final = {"text": "prompt"}  # every other field's name is its column's
_DOCUMENTS: Final[Mapping[str, type]] = {"actor_metadata": dict[str, str], "extra": dict[str, int]}
# Bytes of UTF-8: of content as many as a request may have; of a column that is not here, ID_BYTES.
_CONTENT: Final = 2**31
_LIMITS: Final = dict.fromkeys(("prompt", "open_prompt", "input", "content"), _CONTENT) | dict.fromkeys(
    ("request_path", "server_url", "error_message", "invocation_error"), 65_536
)


class Field(NamedTuple):
    """A message's field and the column it is. `limit`: bytes of a text; `document`: what a column of JSON holds."""

    name: str
    column: str
    is_optional: bool
    limit: int
    document: type | None


def _fields(kind: str) -> tuple[Field, ...]:
    named = pb.Record.DESCRIPTOR.fields_by_name[kind].message_type
    found = ((field, _COLUMN.get(field.name, field.name)) for field in named.fields) if named else ()
    return tuple(
        Field(field.name, column, field.has_presence, _LIMITS.get(column, ID_BYTES), _DOCUMENTS.get(column))
        for field, column in found
    )


_FIELDS: Final = {kind: _fields(kind) for kind in _TIMES}

_COST: Final = re.compile(r"\d{1,50}(?:\.\d{1,50})?", re.ASCII)
_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = 1_000_000_000  # nanoseconds
# What a value's fault is raised as: a time that is none, a document that is none, a type that no field has.
_UNFIT: Final = (ValueError, TypeError, OverflowError)


def records(batch: Batch) -> Iterator[pb.Record]:
    """The batch as records, those of one interception together and in their order.

    A row that the contract cannot tell (its time or its JSON is none) is left out, an interception's with its end.
    """
    children: dict[str, list[pb.Record]] = defaultdict(list)
    for table in CHILDREN:
        for row in batch.rows.get(table, ()):
            children[str(row[1])] += _told(dict(zip(COLUMNS[table], row, strict=True)), KINDS[table])
    for row in batch.rows.get(INTERCEPTIONS, ()):
        values = dict(zip(COLUMNS[INTERCEPTIONS], row, strict=True))
        told = _told(values, STARTED) if values["ended_at"] is None else _told(values, STARTED, ENDED)
        yield from told[:1]
        yield from children.pop(str(row[0]), ())
        yield from told[1:]
    for orphans in children.values():
        yield from orphans
    for row in batch.ends:
        yield from _told(dict(zip(END_COLUMNS, row, strict=True)), ENDED)


def batch(records: Iterable[pb.Record]) -> tuple[Batch, frozenset[str]]:
    """The records as rows, and the ids of those that are malformed. Never raises.

    Of records with one id and of one kind the first counts. A start and its end become one whole row.
    """
    rows: dict[str, dict[str, dict[str, Value]]] = {table: {} for table in TABLES}
    ends: dict[str, dict[str, Value]] = {}
    unfit = set()
    for record in records:
        kind = record.WhichOneof("record")
        try:
            values = _values(record, kind)
        except _UNFIT:
            unfit.add(record.id)
        else:
            (ends if kind == ENDED else rows[_TABLES[str(kind)]]).setdefault(record.id, values)
    for known in rows[INTERCEPTIONS].keys() & ends.keys():
        rows[INTERCEPTIONS][known] |= ends.pop(known) | {"open_prompt": None}
    return Batch(
        rows={table: [_row(values, COLUMNS[table]) for values in rows[table].values()] for table in TABLES},
        ends=[_row(values, END_COLUMNS) for values in ends.values()],
    ), frozenset(unfit)


def _told(values: Mapping[str, Value], *kinds: str) -> list[pb.Record]:
    try:
        return [_record(values, kind) for kind in kinds]
    except _UNFIT:
        return []


def _record(values: Mapping[str, Value], kind: str) -> pb.Record:
    row_id, at = str(values["id"]), str(values[_TIMES[kind]])
    record = pb.Record(id=row_id, interception_id=str(values.get("interception_id", row_id)), at=_timestamp(at))
    message = getattr(record, kind)
    message.SetInParent()
    for field in _FIELDS[kind]:
        value = values[field.column]
        if field.document:
            getattr(message, field.name).update(_document(value, field.document))
        elif value is not None:
            setattr(message, field.name, value)
    return record


def _values(record: pb.Record, kind: str | None) -> dict[str, Value]:
    _identified(record, kind)
    message = getattr(record, str(kind))
    values = {field.column: _value(message, field) for field in _FIELDS[str(kind)]}
    own = {"id": record.id, "interception_id": record.interception_id, _TIMES[str(kind)]: _moment(record.at)}
    return values | own


def _identified(record: pb.Record, kind: str | None) -> None:
    is_its_own = kind in {STARTED, ENDED}
    sound = (
        kind is not None
        and record.HasField("at")
        and _ID.fullmatch(record.id)
        and _ID.fullmatch(record.interception_id)
        and (not is_its_own or record.id == record.interception_id)
    )
    if not sound:
        raise ValueError


def _value(message: Message, field: Field) -> Value:
    if field.is_optional and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    if field.document:
        return _json({clean(name): _fit(found, field.limit) for name, found in value.items()})
    return _fit(value, field.limit)


def _fit(value: str | int, limit: int) -> str | int:
    if isinstance(value, str):
        return clean(value, limit)
    return clamp(int(value))  # a flag too is a number in SQLite


def _row(values: Mapping[str, Value], columns: Iterable[str]) -> Values:
    return tuple(values.get(column) for column in columns)


def _document(value: Value, kind: type) -> dict[str, str] | dict[str, int]:
    found: dict[str, Any] = msgspec.json.decode(str(value), type=kind)
    return {name: clamp(item) if isinstance(item, int) else item for name, item in found.items()}


def _json(items: Mapping[str, str | int]) -> str:
    # Sorted, since a map of the contract has no order.
    return msgspec.json.encode(dict(items), order="deterministic").decode()


def _timestamp(moment: str) -> Timestamp:
    since = datetime.fromisoformat(moment) - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)


def _moment(timestamp: Timestamp) -> str:
    if not 0 <= timestamp.nanos < _SECOND:
        raise ValueError
    at = _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def report(totals: Totals) -> pb.ReportResponse:
    """The totals as the service tells them."""
    lines = {grouping: [pb.Usage(**usage) for usage in totals[grouping]] for grouping in GROUPINGS}
    told = totals["prices"]
    return pb.ReportResponse(total=pb.Usage(**totals["total"]), prices=pb.Prices(**told) if told else None, **lines)


def totals(response: pb.ReportResponse, since: date | None, until: date | None) -> Totals:
    """The totals that the service told of those days."""
    return Totals(
        since=since.isoformat() if since else None,
        until=until.isoformat() if until else None,
        total=_usage(response.total),
        actor=[_usage(line) for line in response.actor],
        model=[_usage(line) for line in response.model],
        client=[_usage(line) for line in response.client],
        day=[_usage(line) for line in response.day],
        prices=_prices(response.prices) if response.HasField("prices") else None,
    )


def _usage(line: pb.Usage) -> Usage:
    counts = {name: getattr(line, name) for name in ("name", *COUNTS)}
    cost = line.cost if _COST.fullmatch(line.cost) else None
    unpriced = line.unpriced if line.HasField("unpriced") else None
    return msgspec.convert({**counts, "cost": cost, "unpriced": unpriced}, Usage)


def _prices(told: pb.Prices) -> Prices:
    return Prices(source=told.source, date=told.date if told.HasField("date") else None)
