"""One request with its response: events in, replies and records out.

`receive` says what to tell Envoy and what to keep; `close` ends it, however the stream did. `phases` knows the order.
"""

import re
from collections.abc import Collection, Iterator
from typing import TypeAlias

from msgspec.structs import replace

from sidecar.core import clients, credentials, phases, requests
from sidecar.core.admission import Admitted, admit
from sidecar.core.events import Body, Event, Headers, Recorded, Side, Told, Trailers
from sidecar.core.headers import changes
from sidecar.core.permissions import is_permitted
from sidecar.core.phases import Phase, Sign
from sidecar.core.policy import Policy
from sidecar.core.reading import UNREAD, Reading, Unread
from sidecar.core.records import Ended, ErrorType, Failure, Forwarded, Passed, Prompt, Record, Started
from sidecar.core.refusals import BACKGROUND, DENIED, NOT_RECORDED, TOO_LARGE, refusal
from sidecar.core.replies import Ack, Echo, Forward, Observe, Part, Refuse, Reply, Step, Wait
from sidecar.core.responses import Answer
from sidecar.core.routes import Treatment
from sidecar.core.text import clean

_FROM_PROVIDER = "via_upstream"  # response.code_details of what Envoy did not make itself
_DETAIL = re.compile(r"[a-z0-9_]{1,64}")
_GATEWAY_TIMEOUT = 504
# Where the response's id may never have come, and yet a provider may have answered.
_PROMPT_WITHOUT_ID = frozenset({ErrorType.DISCONNECTED, ErrorType.TIMEOUT, ErrorType.UNOBSERVED, ErrorType.LOST})
_UNDECIDED = frozenset({Phase.START, Phase.REQUEST, Phase.DONE})
_CUT = {
    ErrorType.DISCONNECTED: "the client or the provider hung up",
    ErrorType.UNOBSERVED: "Envoy stopped showing the stream",
    ErrorType.REJECTED: "the request could not be processed",
}
_REJECTED = {
    BACKGROUND.status: "background requests are not supported",
    DENIED.status: "a policy denies it",
    NOT_RECORDED.status: "the start was not recorded in time",
}
_PASSED_ON = {
    (kind, side): Step(replies=(Ack(side=side, part=part),))
    for kind, part in ((Headers, Part.HEADERS), (Body, Part.BODY), (Trailers, Part.TRAILERS))
    for side in Side
}
SHORT = 262_144  # bytes of a request's text: to decode and read them, whatever they are, takes some milliseconds
ANY = 2**63  # bytes: more than the policy allows
Asked: TypeAlias = requests.Request | requests.Unreadable
_ECHOED = 65_536  # bytes in one chunk handed back; a proxy's gRPC client takes at least that much


class Interception:
    """The phase machine. `duplex`: the sides whose bodies the proxy gives away, and gets back.

    `trace_id`: the trace that Envoy has it in, 32 hexadecimal digits.
    """

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - the thing's own word
        policy: Policy,
        duplex: Collection[Side] = (),
        trace_id: str | None = None,
    ) -> None:
        self.id = id
        self._trace_id = trace_id
        self.phase = Phase.START
        self._policy = policy
        self._duplex = duplex
        self._gathers = (
            Side.REQUEST in duplex
        )  # a request's body comes in pieces, and nothing is answered before its end
        self._body = bytearray()  # what came of a body in pieces
        self._verdict: tuple[Reply, ...] = ()
        self._request: Admitted  # from phase REQUEST on, and where a request was refused never used
        self._started: Started | None = None  # None for a passthrough, too
        self._refusal: Refuse | None = None  # of a request that was understood
        self._reading = Unread()
        self._fed: Body | Trailers | None = None  # read already, before it is received
        self._status: int | None = None
        self._first_at: float | None = None  # when the first bytes of the response's body came
        self._provider_request_id: str | None = None

    def receive(self, event: Event, asked: Asked | None = None) -> Step:
        """Take in what happened; the step's records must be as safe as its `wait` says before its replies are sent.

        `asked`: what the request asks that `event` completes, where that was read beforehand. Raises OutOfOrder when it
        cannot have happened now.
        """
        happened = phases.sign(event)
        self._turn(happened)
        if isinstance(event, Recorded):
            return self._decided(event)
        if self.phase is Phase.RESPONSE and event.side is Side.RESPONSE:
            return self._answered(event) if isinstance(event, Headers) else self._observed(event)
        if self.phase is Phase.REQUEST:
            return self._opened(event) if isinstance(event, Headers) else self._gathered(event, asked)
        return self._passed_on(event)

    def skims(self, data: bytes) -> bool:
        """Whether `data` is a chunk of the response that tells nothing, and now has been read: the reply is an ack."""
        return self._first_at is not None and self.phase is Phase.RESPONSE and self._reading.skims(data)

    def completes(self, event: Event) -> bool:
        """Whether `event` is the end of a request's body, so that it can be read."""
        if self.phase is not Phase.REQUEST or isinstance(event, Headers | Recorded) or event.side is not Side.REQUEST:
            return False
        return isinstance(event, Trailers) or event.end or not self._gathers

    def asked(self, last: Told, most: int = SHORT) -> Asked:
        """What the request asks that `last` completes, or why it cannot be read: more than `most` bytes are TooLarge.

        It changes nothing, so that it may run in another thread; `receive` takes what it gave.
        """
        limit = min(most, self._policy.bounds.request_bytes)
        if len(self._body) + (len(last.data) if isinstance(last, Body) else 0) > limit:
            return requests.TooLarge()
        try:
            plain = requests.payload(self._request.headers, self._joined(last), limit)
            return requests.read(plain, self._policy.bounds.recorded_bytes)
        except requests.Unreadable as error:
            error.__context__ = None
            return error.with_traceback(None)  # with it the body would be kept, and what was decoded of it

    def is_long(self, event: Body | Trailers) -> bool:
        """Whether `event` brings a piece of the response, or its end, and that may take long to read."""
        data = event.data if isinstance(event, Body) else b""
        return self.phase is Phase.RESPONSE and event.side is Side.RESPONSE and self._reading.is_long(data)

    def reads_along(self, event: Body | Trailers) -> Iterator[None]:
        """Read such a piece before it is `receive`d, with a pause wherever that takes long."""
        self._fed = event
        if isinstance(event, Trailers):
            return self._reading.feeding(b"", event.at, is_last=True)
        return self._reading.feeding(event.data, event.at, is_last=event.end)

    def read(self) -> None:
        """Read what was let go unread, once the replies are on their way. Nothing is lost when it is not called."""
        self._reading.read()

    @property
    def held(self) -> int:
        """How many bytes are kept of the response; 0 while they are few."""
        return self._reading.held

    @property
    def is_open(self) -> bool:
        """Whether there is a record of how it began, and none of how it ended. Of a passthrough there is neither."""
        return self._started is not None and self.phase is not Phase.DONE

    @property
    def is_given_up(self) -> bool:
        """Whether the response still goes on, read no further."""
        return self.phase is Phase.RESPONSE and type(self._reading) is Unread

    def give_up(self) -> None:
        """Read the response no further: it failed. Of what was found its id is kept; the end will say `unread`."""
        if self.phase is Phase.RESPONSE:
            self._reading = Unread(UNREAD, given_up=self._reading.id)

    def refuse(self, reply: Refuse) -> Step:
        """Refuse a request that was admitted, before its body was read."""
        self._turn(Sign.REFUSED)
        self._body.clear()
        return Step(replies=(reply,))

    def close(self, at: float, why: ErrorType = ErrorType.DISCONNECTED) -> tuple[Record, ...]:
        """Nothing more will come. Safe to call twice: only the first call, of what had not ended, has records."""
        records: tuple[Record, ...] = ()
        if self.phase not in _UNDECIDED:
            cut = Failure(type=why, message=_CUT[why])
            records = (self._passed(at),) if self._started is None else tuple(self._ending(at, cut))
            self._reading = Unread()
        self._turn(Sign.ENDED)
        return records

    def _turn(self, happened: Sign) -> None:
        self.phase = phases.after(self.phase, happened)

    # The request

    def _opened(self, headers: Headers) -> Step:
        admitted = admit(headers, self._policy)
        if isinstance(admitted, Refuse):
            return self.refuse(admitted)
        self._request = admitted
        if admitted.route.treatment is Treatment.PASS:
            if not self._is_permitted(""):
                return self.refuse(self._noted(DENIED))
            self._turn(Sign.PASSED)
            streaming = requests.asks_for_stream(headers.first(":path") or "")
            return Step(replies=(self._forward(Part.HEADERS, Observe.HEADERS, streaming=streaming),))
        if headers.end:
            return self._whole(headers, None)
        return Step() if self._gathers else self._passed_on(headers)

    def _gathered(self, event: Body | Trailers, asked: Asked | None) -> Step:
        if isinstance(event, Body):
            if len(self._body) + len(event.data) > self._policy.bounds.request_bytes:
                return self.refuse(TOO_LARGE)
            # Envoy's BUFFERED body is one message, whole whether it is marked `end` or not.
            if self._gathers and not event.end:
                self._body += event.data
                return Step()
        return self._whole(event, asked)

    def _joined(self, last: Told) -> bytes:
        """The whole body: the very bytes, where they came at once."""
        data = last.data if isinstance(last, Body) else b""
        return bytes(self._body + data) if self._body else data

    def _whole(self, last: Told, asked: Asked | None) -> Step:
        """The request is here, all of it; `last` brought its end."""
        request = asked or self.asked(last, ANY)
        if isinstance(request, requests.Unreadable):
            return self.refuse(refusal(request.status, str(request)))
        body = self._joined(last)
        self._body.clear()
        if not self._is_permitted(request.model):
            self._refusal = DENIED
        elif request.background:
            self._refusal = BACKGROUND
        self._started = self._start(request, last.at)
        self._verdict = self._forwarding(body, last, streaming=request.streaming)
        self._turn(Sign.READ)
        return Step(records=(self._started,), wait=Wait.START)

    def _is_permitted(self, model: str) -> bool:
        actor, provider = self._request.actor, self._request.route.provider.name
        return is_permitted(self._policy.permissions, actor=actor, provider=provider, model=model)

    def _forwarding(self, body: bytes, last: Told, *, streaming: bool) -> tuple[Reply, ...]:
        """The verdict that lets it pass; a duplex proxy has been waiting for the answer to each part."""
        if not self._gathers:
            return (self._forward(Part.BODY, Observe.ALL, streaming=streaming),)
        head = self._forward(Part.HEADERS, Observe.ALL, streaming=streaming)
        echoes = _echoes(Body(side=Side.REQUEST, at=last.at, data=body, end=isinstance(last, Body)))
        return (head, *echoes, *(self._passed_on(last).replies if isinstance(last, Trailers) else ()))

    def _start(self, request: requests.Request, read_at: float) -> Started:
        headers, route, credential = self._request.headers, self._request.route, self._request.credential
        client = clients.client(headers)
        return Started(
            interception=self.id,
            at=headers.at,
            initiator=self._request.actor,
            actor_metadata=self._request.actor_metadata,
            provider=route.provider.type,
            provider_name=route.provider.name,
            model=request.model,
            streaming=request.streaming,
            client=client,
            client_session=clients.session(client, headers, request.user_id),
            user_agent=_clean(headers.first("user-agent")),
            correlating_tool_call=request.correlating_tool_call,
            credential_kind=credential.kind,
            credential_hint=credential.hint,
            request_path=route.path,
            request_id=_clean(headers.first("x-request-id")),
            prompt=request.prompt,
            read_at=read_at,
            trace_id=self._trace_id,
            parameters=request.parameters,
        )

    def _decided(self, event: Recorded) -> Step:
        replies, self._verdict = self._verdict, ()
        if not event.durable:
            self._turn(Sign.REFUSED)
            return Step(replies=(self._noted(NOT_RECORDED),), records=(self._rejected(event.at, NOT_RECORDED),))
        if self._refusal is not None:
            self._turn(Sign.REFUSED)
            records = (self._rejected(event.at, self._refusal),)
            return Step(replies=(self._noted(self._refusal),), records=records, wait=Wait.END)
        return Step(replies=replies, records=(Forwarded(interception=self.id, at=event.at),))

    def _rejected(self, at: float, reply: Refuse) -> Ended:
        failure = Failure(type=ErrorType.REJECTED, message=_REJECTED[reply.status])
        return Ended(interception=self.id, at=at, failure=failure, http_status=reply.status, provider_request_id=None)

    def _forward(self, part: Part, observe: Observe, *, streaming: bool) -> Forward:
        changed = changes(
            self._request.headers,
            self._request.route.provider,
            self._request.credential,
            actor=self._request.actor,
            actor_metadata=self._request.actor_metadata,
            identity_header=self._policy.identity_header,
            also={} if streaming else self._time_out(),
        )
        return Forward(part=part, set=changed.set, remove=changed.remove, observe=observe, notes=self._notes())

    def _time_out(self) -> dict[str, str]:
        # Envoy's router reads it and takes it away (suppress_envoy_headers).
        return {"x-envoy-upstream-rq-timeout-ms": str(round(self._policy.bounds.request_timeout * 1000))}

    def _noted(self, reply: Refuse) -> Refuse:
        return replace(reply, notes=self._notes())

    def _notes(self) -> dict[str, str]:
        notes = {"actor": self._request.actor}
        return notes if self._started is None else notes | {"interception": self.id}

    # The response

    def _answered(self, headers: Headers) -> Step:
        self._status = headers.count(":status")
        self._provider_request_id = _clean(headers.first("x-request-id"))
        details = headers.attributes.get("response.code_details", _FROM_PROVIDER)
        if self._started is None:
            return Step(replies=self._passed_on(headers).replies, records=self.close(headers.at))
        if details != _FROM_PROVIDER:
            return self._end(headers, _made_by_envoy(self._status, details))
        answer = Answer(
            interception=self.id, recorded_bytes=self._policy.bounds.recorded_bytes, is_credential=self._is_credential
        )
        self._reading = Reading(headers, answer, self._policy.bounds)
        return self._end(headers) if headers.end else self._passed_on(headers)

    def _observed(self, event: Body | Trailers) -> Step:
        """A body's chunk, or the trailers: read along, and let go at once unless it may be the end."""
        if isinstance(event, Trailers):
            return self._end(event)
        if self._first_at is None and event.data:
            self._first_at = event.at
        if event is not self._fed:
            self._reading.feed(event.data, event.at)
        self._fed = None
        if event.end:
            return self._end(event)
        if self._reading.may_have_ended():
            self._reading.read()
            if self._reading.has_ended():
                return self._end(event)
        return self._passed_on(event)

    def _end(self, event: Told, cut: Failure | None = None) -> Step:
        records = tuple(self._ending(event.at, cut))
        self._turn(Sign.ENDED)
        self._reading = Unread()  # it may have held much
        return Step(replies=self._passed_on(event).replies, records=records, wait=Wait.END)

    def _ending(self, at: float, cut: Failure | None) -> Iterator[Record]:
        """Everything that is left to say, the end last. `cut`: why the response did not reach its own end."""
        failure = self._reading.close(at, cut)
        msg_id = self._reading.id
        prompt = self._started.prompt if self._started is not None else None
        if prompt is not None and (msg_id or (failure is not None and failure.type in _PROMPT_WITHOUT_ID)):
            yield Prompt(interception=self.id, at=at, msg_id=msg_id, text=prompt)
        yield from self._reading.records()
        yield Ended(
            interception=self.id,
            at=at,
            failure=failure,
            http_status=self._status,
            provider_request_id=self._provider_request_id,
            answered=replace(self._reading.answered(), first_at=self._first_at),
        )

    def _passed(self, at: float) -> Passed:
        headers, route = self._request.headers, self._request.route
        return Passed(
            at=headers.at,
            ended_at=at,
            actor=self._request.actor,
            provider_name=route.provider.name,
            method=headers.first(":method") or "",
            path=route.path,
            url=route.url(),
            http_status=self._status,
        )

    def _is_credential(self, word: str) -> bool:
        """Whether `word`, which the provider said, is a key of ours or a good part of one."""
        provider = self._request.route.provider
        return credentials.shows(word, self._request.credential, provider.extra_headers.values())

    # Replies that change nothing

    def _passed_on(self, event: Told) -> Step:
        if event.side in self._duplex and isinstance(event, Body):
            return Step(replies=_echoes(event))
        return _PASSED_ON[type(event), event.side]


def _echoes(body: Body) -> tuple[Reply, ...]:
    starts = range(0, len(body.data), _ECHOED) or (0,)
    last = starts[-1]
    return tuple(Echo(side=body.side, data=body.data[at : at + _ECHOED], end=body.end and at == last) for at in starts)


def _made_by_envoy(status: int | None, details: str) -> Failure:
    kind = ErrorType.TIMEOUT if status == _GATEWAY_TIMEOUT else ErrorType.DISCONNECTED
    # What follows the first word may name addresses and certificates.
    word = _DETAIL.match(details)
    return Failure(type=kind, message=f"Envoy answered {status}: {word[0] if word else ''}")


def _clean(value: str | None) -> str | None:
    return None if value is None else clean(value)
