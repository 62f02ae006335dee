"""Whole exchanges played to an interception, as plain values: a request, an answer in chunks, and the records left."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import brotli  # type: ignore[import-untyped]  # ships no types
import msgspec
import zstandard
from pydantic import SecretStr

from sidecar.core.events import Body, Event, Headers, Recorded, Side
from sidecar.core.interception import Interception
from sidecar.core.policy import Policy, Provider
from sidecar.core.records import Ended, Prompt, Record, Started, Thought, Tokens, Tool
from sidecar.core.replies import Step

ID = "0193a1b2-0000-7000-8000-000000000001"
KEY = "sk-central-0123456789abcdef"
OPENAI = Provider(name="openai", type="openai", base_url="https://api.openai.com/v1", api_key=SecretStr(KEY))
POLICY = Policy(providers={"openai": OPENAI})
CODINGS = {
    None: bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
BOTH = frozenset(Side)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What the client sends and the provider answers, each before its content-encoding."""

    request: bytes = b'{"model":"m","input":"hi"}'
    answer: bytes = b"{}"
    path: str = "responses"
    status: int = 200
    content_type: str = "application/json"
    coding: str | None = None
    request_coding: str | None = None

    def sent(self) -> bytes:
        """The answer as it travels."""
        return bytes(CODINGS[self.coding](self.answer))

    def asking(self) -> Iterator[Event]:
        """The request, up to the journal's word."""
        pairs = ((":method", "POST"), (":path", f"/openai/v1/{self.path}"), ("x-forwarded-user", "alice"))
        coding = () if self.request_coding is None else (("content-encoding", self.request_coding),)
        yield Headers(side=Side.REQUEST, at=1.0, pairs=(*pairs, *coding))
        body = bytes(CODINGS[self.request_coding](self.request))
        yield Body(side=Side.REQUEST, at=2.0, data=body, end=True)
        yield Recorded(at=3.0, durable=True)

    def answering(self, chunks: Iterable[bytes]) -> Iterator[Event]:
        """The answer; its end comes in a message of its own, as Envoy often sends it."""
        coding = () if self.coding is None else (("content-encoding", self.coding),)
        pairs = ((":status", str(self.status)), ("content-type", self.content_type), *coding)
        yield Headers(side=Side.RESPONSE, at=4.0, pairs=pairs)
        yield from (Body(side=Side.RESPONSE, at=5.0, data=chunk) for chunk in chunks)
        yield Body(side=Side.RESPONSE, at=5.0, data=b"", end=True)

    def steps(self, chunks: Iterable[bytes] | None = None, duplex: frozenset[Side] = frozenset()) -> Iterator[Step]:
        """What an interception makes of it; read along as the server does, after each reply."""
        interception = Interception(id=ID, policy=POLICY, duplex=duplex)
        for event in (*self.asking(), *self.answering([self.sent()] if chunks is None else chunks)):
            if not duplex and _skimmed(interception, event):
                continue
            yield interception.receive(event)
            interception.read()
        assert interception.close(6.0) == ()

    def records(self, chunks: Iterable[bytes] | None = None, duplex: frozenset[Side] = frozenset()) -> list[Record]:
        """All records, in order."""
        return [record for step in self.steps(chunks, duplex) for record in step.records]


def _skimmed(interception: Interception, event: Event) -> bool:
    is_chunk = isinstance(event, Body) and event.side is Side.RESPONSE and not event.end
    return is_chunk and interception.skims(event.data)


def told(records: Iterable[Record]) -> dict[str, Any]:
    """The records by kind, in the vocabulary of the transcripts."""
    found: dict[str, Any] = {"prompt": None, "tokens": None, "tools": [], "thoughts": []}
    for record in records:
        said = msgspec.to_builtins(record)
        values = {name: value for name, value in said.items() if name not in {"interception", "at"}}
        match record:
            case Started():
                found["started"] = {name: values[name] for name in ("model", "correlating_tool_call", "streaming")}
            case Prompt():
                found["prompt"] = values
            case Tokens():
                found["tokens"] = values
            case Tool():
                unforeseen = ("server_url", "injected", "invocation_error")
                assert [values.pop(name) for name in unforeseen] == [None, False, None]
                found["tools"].append(values)
            case Thought():
                found["thoughts"].append(values)
            case Ended():
                assert "ended" not in found
                found["ended"] = values
    return found


def one_by_one(data: bytes) -> list[bytes]:
    """A byte a chunk."""
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data cut at `places`, whatever numbers these are."""
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
