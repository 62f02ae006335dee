"""From records to the tree of spans that they amount to. Pure: every time comes from the records or their commit.

    Intercept                                   Started.at … the end's commit
    ├─ CreateInterceptor                        Started.at … Started.read_at
    ├─ RecordInterception                       Started.read_at … its commit
    ├─ ProcessRequest                           the start's commit … Ended.at
    │   ├─ Upstream                             Forwarded.at … Ended.at, if it was forwarded
    │   └─ RecordTokenUsage and its kin         each from its record to its commit
    └─ RecordInterceptionEnded                  Ended.at … its commit

Content enters only where the view tells it: else of a prompt, a tool's input or a thought nothing is kept, not even
until the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from msgspec.structs import replace

from sidecar.core.records import Ended, Failure, Forwarded, Passed, Prompt, Started, Thought, Tokens, Tool
from sidecar.telemetry import semconv
from sidecar.telemetry.traces import attributes
from sidecar.telemetry.traces.attributes import SERVER_ERROR, Attributes
from sidecar.telemetry.traces.calls import CLIENT_TOOLS, Call, Said
from sidecar.telemetry.traces.profiles import View

Recording = Prompt | Tokens | Tool | Thought
RECORDINGS: Mapping[type, str] = MappingProxyType(
    {
        Prompt: "Intercept.RecordPromptUsage",
        Tokens: "Intercept.RecordTokenUsage",
        Tool: "Intercept.RecordToolUsage",
        Thought: "Intercept.RecordModelThought",
    }
)
# A response may hold any number of tool calls, and the event loop waits while spans are made (50 µs each).
MOST_RECORDINGS = 100
UNCOMMITTED = "not known to be committed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A span to be. Seconds since the epoch; `error` None leaves the status unset; `client`: its kind is CLIENT."""

    name: str
    start: float
    end: float
    attributes: Attributes
    error: str | None = None
    client: bool = False
    children: tuple["Node", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """How it began. `started` without its prompt, which may be a mebibyte, for an hour."""

    started: Started
    committed_at: float | None
    common: Attributes


@dataclass(slots=True)
class Tree:
    """One interception, growing until its end."""

    _view: View = field(default_factory=View)
    _opening: _Opening | None = None
    _forwarded_at: float | None = None
    _recordings: list[Node] = field(default_factory=list)
    _dropped: int = 0
    _response: str = ""
    _tokens: Tokens | None = None
    _asks: bool = False
    _said: list[Said] = field(default_factory=list)

    def start(self, started: Started, committed_at: float | None) -> None:
        """It begins; `committed_at` as in `Trace.observe`."""
        self._opening = _Opening(
            started=replace(started, prompt=None), committed_at=committed_at, common=attributes.common(started)
        )

    def forward(self, forwarded: Forwarded) -> None:
        """The provider has it now."""
        self._forwarded_at = forwarded.at

    def record(self, record: Recording, committed_at: float | None) -> None:
        """Something was seen. Beyond `MOST_RECORDINGS` they are only counted."""
        if self._opening is None:
            return
        self._response = record.msg_id or self._response
        if isinstance(record, Tokens):
            self._tokens = record
        elif isinstance(record, Tool) and record.kind in CLIENT_TOOLS:
            self._asks = True
        if len(self._recordings) == MOST_RECORDINGS:
            self._dropped += 1
            return
        self._recordings.append(_commit(RECORDINGS[type(record)], record.at, committed_at, self._opening.common))
        if self._view.content and not isinstance(record, Tokens):
            self._said.append(record)

    def end(self, ended: Ended, committed_at: float | None) -> Node | None:
        """The whole tree; None without a beginning, or when it has ended before."""
        opening, self._opening = self._opening, None
        if opening is None:
            return None
        started = opening.started
        beginning = _commit("Intercept.RecordInterception", started.read_at, opening.committed_at, opening.common)
        ending = _commit("Intercept.RecordInterceptionEnded", ended.at, committed_at, opening.common)
        return Node(
            name="Intercept",
            start=started.at,
            end=max(started.at, ending.end),
            attributes={**opening.common, **attributes.client(started), **attributes.error(ended.failure)},
            error=_message(ended.failure),
            children=(_creation(opening), beginning, self._request(opening, beginning.end, ended), ending),
        )

    def _request(self, opening: _Opening, since: float, ended: Ended) -> Node:
        dropped: Attributes = {semconv.DROPPED: self._dropped} if self._dropped else attributes.NONE
        upstream = () if self._forwarded_at is None else (self._upstream(opening, self._forwarded_at, ended),)
        return Node(
            name="Intercept.ProcessRequest",
            # A refusal's start is committed together with its end, and so after it.
            start=min(since, ended.at),
            end=ended.at,
            attributes={**opening.common, **attributes.error(ended.failure), **dropped},
            error=_message(ended.failure),
            children=(*upstream, *self._recordings),
        )

    def _upstream(self, opening: _Opening, since: float, ended: Ended) -> Node:
        return Node(
            name="Intercept.ProcessRequest.Upstream",
            start=since,
            end=max(since, ended.at),
            attributes={
                **opening.common,
                **attributes.client(opening.started),
                **attributes.error(ended.failure),
                **self._called(opening.started, since, ended),
            },
            error=_message(ended.failure),
            client=True,
        )

    def _called(self, started: Started, since: float, ended: Ended) -> Attributes:
        server = self._view.servers.get(started.provider_name)
        call = Call(
            started=started,
            forwarded_at=since,
            tokens=self._tokens,
            response=ended.answered.response or self._response,
            asks=self._asks,
            ended=ended,
            said=self._said,
        )
        return {**attributes.server(server), **self._view.profile(call)}


def passthrough(passed: Passed) -> Node:
    """The one span of a request that is not intercepted. A refusal (4xx) is the client's affair, and no error."""
    error = None
    if passed.http_status is None:
        error = "no response was seen"
    elif passed.http_status >= SERVER_ERROR:
        error = f"the response had status {passed.http_status}"
    return Node(
        name="Passthrough",
        start=passed.at,
        end=max(passed.at, passed.ended_at),
        attributes=attributes.passthrough(passed),
        error=error,
    )


def _creation(opening: _Opening) -> Node:
    at = opening.started.at
    end = max(at, opening.started.read_at)
    return Node(name="Intercept.CreateInterceptor", start=at, end=end, attributes=opening.common)


def _commit(name: str, at: float, committed_at: float | None, common: Attributes) -> Node:
    if committed_at is None:
        return Node(name=name, start=at, end=at, attributes=common, error=UNCOMMITTED)
    return Node(name=name, start=at, end=max(at, committed_at), attributes=common)


def _message(failure: Failure | None) -> str | None:
    return failure.message if failure else None
