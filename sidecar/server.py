"""The ext_proc service: Envoy's streams in, an `Interception` each, replies out.

A step's records are handed in before its replies are written, and what runs when a stream has gone is plain functions:
code behind an `await` may never run then.
"""

import asyncio
import traceback
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn, ParamSpec, Protocol, TypeAlias, TypeVar

import grpc
import structlog
from grpc import aio
from msgspec.structs import replace

from sidecar import wire
from sidecar.core.admission import length
from sidecar.core.errors import OutOfOrder, SidecarError, UnfitProxy
from sidecar.core.events import Body, Event, Headers, Recorded, Side, Told, Trailers
from sidecar.core.interception import ANY, Asked, Interception
from sidecar.core.phases import Phase
from sidecar.core.policy import Policy
from sidecar.core.privacy import Gate
from sidecar.core.records import ErrorType, Record
from sidecar.core.refusals import INTERNAL, OVERLOADED
from sidecar.core.replies import Refuse, Step, Wait
from sidecar.core.requests import TooLarge
from sidecar.pulse import STALL, Pulse
from sidecar.telemetry.dumping import Dump, Dumps, NoDumps
from sidecar.telemetry.metrics import Metric, Metrics, NoMetrics
from sidecar.telemetry.metrics.meters import Meter, Meters
from sidecar.telemetry.traces import Trace, Traces, trace_id

log = structlog.get_logger()

T = TypeVar("T")
Q = ParamSpec("Q")
Method: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Context: TypeAlias = "aio.ServicerContext[bytes, bytes] | Quick"

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
_MOST_PENDING = 268_435_456  # bytes of records waiting for a disk in trouble
_AT_ONCE = 4  # responses as long as they may be: so much may be kept of all of them
_READERS = 2  # long requests read at once, each in a thread: more of them only keep the event loop waiting for its turn
# Seconds in which Envoy ends a call after its own last word: it resets what it has half closed, some 0.3 ms later.
_PARTING = 0.02
_READ = object()
_UNDECIDED = frozenset({Phase.START, Phase.REQUEST, Phase.RECORDING})


class Quick(ABC):
    """A context that answers by itself where `quick` says how, and asks for a message before anybody reads it."""

    def __init__(self) -> None:
        self.quick: Callable[[bytes], bytes | None] = lambda _: None

    @abstractmethod
    async def read(self) -> object:
        """The next message; `aio.EOF` where there is none."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Have a message sent, with what is `ahead` at the latest."""

    @abstractmethod
    def ahead(self) -> None:
        """Send what was written, and ask for the next message."""

    @abstractmethod
    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """What came with the call."""

    @abstractmethod
    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call. Raises what must pass."""


class Submit(Protocol):
    """How records are handed in: at once, in order; the future gets the time of their commit."""

    def __call__(self, records: Sequence[Record]) -> asyncio.Future[float]:
        """Queue `records`. Never raises."""


@dataclass(slots=True, kw_only=True)
class Processor:
    """Everything streams share. Times in seconds, sizes in bytes."""

    policy: Policy
    submit: Submit
    now: Callable[[], float]
    new_id: Callable[[], str]
    traces: Traces
    pulse: Pulse
    verdict: str
    start_timeout: float
    end_timeout: float
    inflight_bytes: int
    pending: Callable[[], int]  # bytes of records that are not yet durable
    is_full: Callable[[], bool]  # whether the journal holds all that it may, so that new requests are refused
    held: int = 0  # request bodies under way, as announced or as they come, until their verdicts
    kept: int = 0  # bytes of responses, until these end
    readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_READERS))
    streams: int = 0  # open ones
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # set while there is none
    metrics: Metrics = field(default_factory=NoMetrics)
    meters: Meters | None = None  # None: nobody wants to know how long anything takes
    gate: Gate = field(default_factory=Gate)  # what may be known of the records
    observers: Sequence[Callable[[Sequence[Record]], None]] = ()  # who else hears of them; quick, and never raises
    dumps: Dumps = field(default_factory=NoDumps)
    cuts: bool = False  # what is not recorded is cut; else it is delivered
    stopping: bool = False  # what is still open is about to be cut by us

    def __post_init__(self) -> None:
        self.idle.set()

    async def process(self, _: object, context: Context) -> None:
        """Serve one stream: one request with its response."""
        stream = Stream(self, context)
        meter = None if self.meters is None else self.meters.begin()
        self.streams += 1
        self.idle.clear()
        if isinstance(context, Quick):
            context.quick = partial(_quick, stream, meter)
        try:
            await _converse(stream, context, meter)
            if self.cuts:
                stream.leave()
            stream.close()
            await _parting(context)
        except wire.Malformed:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a ProcessingRequest")
        except Unrecorded as error:
            stream.close()  # a worker that stops does not wait for what is behind an `await`
            await context.abort(grpc.StatusCode.ABORTED, str(error))
        finally:
            stream.close()
            if meter is not None:
                meter.close(stream.interception)
            self.streams -= 1
            if not self.streams:
                self.idle.set()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service as grpc wants it: requests come and replies go as bytes, `wire` knows what they say."""
        process: Method = grpc.stream_stream_rpc_method_handler(self.process)
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": process})


async def _converse(stream: "Stream", context: Context, meter: Meter | None) -> None:
    """Answer all that Envoy says."""
    read, write = context.read, context.write
    while isinstance(data := await (_last(context) if stream.is_done else read()), bytes):
        if meter is not None:
            meter.read()
        chunk = wire.chunk(data)
        if chunk is not None and stream.skims(chunk):
            await write(wire.CHUNK_ACK)
            if meter is not None:
                meter.skimmed()
        else:
            message = wire.parse(data)
            await stream.answer(message)
            if meter is not None:
                meter.answered(wire.phase(message))


async def _last(context: Context) -> object:
    """The next message where nearly always there is none, and the call ends while it is waited for.

    What grpc.aio hands to gRPC's core, some 100 bytes, it never frees where the awaiting is cancelled or the core fails
    (https://github.com/grpc/grpc/issues/43360). So it is not cancelled here, and `_parting` has nothing fail.
    """
    read = context.read()
    return await (read if isinstance(context, Quick) else asyncio.shield(asyncio.ensure_future(read)))


async def _parting(context: Context) -> None:
    """Wait until Envoy has ended the call, which cancels this: a status could no longer be sent, and would fail."""
    if not isinstance(context, Quick):
        await asyncio.sleep(_PARTING)


def _quick(stream: "Stream", meter: Meter | None, data: bytes) -> bytes | None:
    """The answer to a chunk that tells nothing; None to all else."""
    if meter is not None:
        meter.read()
    chunk = wire.chunk(data)
    if chunk is None or not stream.skims(chunk):
        return None
    if meter is not None:
        meter.skimmed()
    return wire.CHUNK_ACK


class Unrecorded(Exception):
    """What Envoy holds of a response must not reach its client: only a stream that ends badly keeps it back."""


class Stream:
    """One ext_proc stream."""

    def __init__(self, shared: Processor, context: Context) -> None:
        self._shared = shared
        self._write: Callable[[bytes], Awaitable[None]] = context.write
        self._context = context
        self._ahead = context.ahead if isinstance(context, Quick) else None
        self._began = shared.pulse.now()
        self._began_at = shared.now()
        self._duplex: frozenset[Side] = frozenset()
        self._reserved = 0  # bytes of room for the request's body
        self._brought = 0  # bytes of it that came
        self._reading: asyncio.Future[Asked | None] | None = None  # by a thread
        self._kept = 0  # of the response, as far as it counts
        self._asked_at: float | None = None  # while an answer is due
        self._was_late = False  # so that Envoy has gone on without us
        self._trace: Trace | None = None
        self._dump: Dump | None = None
        self._interception: Interception | None = None

    @property
    def interception(self) -> str | None:
        """The interception's id; None before the first message."""
        return None if self._interception is None else self._interception.id

    @property
    def is_done(self) -> bool:
        """Whether the interception has ended."""
        return self._interception is not None and self._interception.phase is Phase.DONE

    def skims(self, chunk: bytes) -> bool:
        """Whether a response's chunk tells nothing, and may go: nearly all of a stream, so it has a short way."""
        if self._interception is None or self._duplex:
            return False
        skimmed = self._attempt(self._interception.skims, chunk) or False
        if skimmed and self._dump is not None:
            self._dump.chunk(chunk)
        return skimmed

    async def answer(self, message: wire.Message) -> None:
        """Answer one message, whatever it is."""
        self._asked_at = self._shared.pulse.now()
        replies = await self._replies(message)
        if self._shared.cuts:
            await self._settle()
        for reply in replies:
            await self._write(reply)
        if self._ahead is not None:
            self._ahead()
        self._was_late |= self._is_late()
        self._asked_at = None
        if self._interception is not None:
            if self._reserved and self._interception.phase is not Phase.REQUEST:
                self._release()
            self._attempt(self._interception.read)
            if self._kept or self._interception.held:
                self._is_bearable(self._interception)

    def leave(self) -> None:
        """Envoy says no more. Raises Unrecorded where it must not take our own going for leave to go on."""
        if self._interception is not None and self._interception.is_open:
            msg = "the interception has not ended"
            raise Unrecorded(msg)

    def close(self) -> None:
        """Nothing more will come: end what was not ended. Plain, so that it runs however the stream went."""
        self._release()
        if self._interception is None:
            return
        ended = self._ended(self._interception, self._why())
        self._is_bearable(self._interception)
        if ended:
            self._keep(ended)
        if self._dump is not None:
            self._dump.close()

    def _ended(self, interception: Interception, why: ErrorType) -> Sequence[Record]:
        ended = None
        while ended is None:  # at most twice: an attempt that fails gives the reading up
            ended = self._attempt(interception.close, self._now(), why)
        return ended

    async def _settle(self) -> None:
        """Where reading was given up, say so in the records before any more of the response is let go."""
        if self._interception is not None and self._interception.is_given_up:
            records = self._ended(self._interception, ErrorType.UNOBSERVED)
            await self._recorded(self._interception, Step(records=tuple(records), wait=Wait.END))

    async def _replies(self, message: wire.Message) -> Sequence[bytes]:
        """What to tell Envoy, once the records are as safe as they must be."""
        was_decided = self._interception is not None and self._interception.phase not in _UNDECIDED
        event = self._attempt(self._event, message)
        interception = self._interception
        if interception is None or event is None:
            return self._despite(message, was_decided=was_decided)
        if interception.phase is Phase.REQUEST:
            step = await self._asked(interception, event)
        else:
            if isinstance(event, Body | Trailers) and interception.is_long(event):
                await self._read_along(interception, event)
            step = self._attempt(self._received, interception, event)
        heard: Recorded | None = None
        while step is not None and step.wait is Wait.START:
            self._shown(event, step)
            durable = await self._safe(step.records, self._shared.start_timeout)
            heard = Recorded(at=self._now(), durable=durable)
            step = self._attempt(interception.receive, heard)
        self._shown(heard or event, step or Step())
        if step is not None and step.records:
            await self._recorded(interception, step)
        replies = None if step is None else self._attempt(self._encoded, step)
        return self._despite(message, was_decided=was_decided) if replies is None else replies

    def _shown(self, event: Event, step: Step) -> None:
        if self._dump is not None:
            self._dump.seen(event, replace(step, records=tuple(self._shared.gate(step.records))))

    async def _asked(self, interception: Interception, event: Told) -> Step | None:
        """What follows from a piece of the request, for which there must be room."""
        if isinstance(event, Body):
            self._brought += len(event.data)
            if not self._reserve(self._brought):
                return interception.refuse(OVERLOADED)
        if isinstance(event, Headers) or not interception.completes(event):
            return self._attempt(self._received, interception, event)
        asked = self._attempt(interception.asked, event)
        if isinstance(asked, TooLarge):  # perhaps no more than to be read here: few bytes can decode to very many
            asked = await self._read_apart(interception, event)
        return None if asked is None else self._attempt(interception.receive, event, asked)

    async def _read_apart(self, interception: Interception, event: Told) -> Asked | None:
        """Have a thread read a long request: decoders let go of the interpreter's lock, parsers between their calls.

        It keeps its place and the body's room until it has read, whoever hangs up meanwhile.
        """
        await self._shared.readers.acquire()
        reading = asyncio.get_running_loop().run_in_executor(None, self._attempt, interception.asked, event, ANY)
        reading.add_done_callback(lambda _: self._shared.readers.release())
        self._reading = reading
        return await asyncio.shield(reading)

    async def _read_along(self, interception: Interception, event: Body | Trailers) -> None:
        """Read a long chunk of the response, while others have their turn in between."""
        parts = interception.reads_along(event)
        while self._attempt(next, parts, _READ) is not _READ and self._is_bearable(interception):  # noqa: ASYNC110 - it waits for nothing
            await asyncio.sleep(0)

    def _is_bearable(self, interception: Interception) -> bool:
        """Whether there is room for what is kept of the response, as for little there always is; else it is unread."""
        shared, kept = self._shared, interception.held
        others = shared.kept - self._kept
        is_bearable = kept == 0 or others + kept <= _AT_ONCE * shared.policy.bounds.response_bytes
        if not is_bearable:
            log.warning("response left unread: too much of others is kept", interception=interception.id)
            interception.give_up()
            kept = 0
        shared.kept, self._kept = others + kept, kept
        return is_bearable

    def _event(self, message: wire.Message) -> Told:
        if self._interception is None:
            self._interception = self._begin(message)
        return wire.decode(message, self._now())

    def _begin(self, message: wire.Message) -> Interception:
        shared = self._shared
        if not wire.shows_bodies(message):
            msg = "the proxy must send request bodies BUFFERED or FULL_DUPLEX_STREAMED"
            raise UnfitProxy(msg)
        self._duplex = wire.duplex(message)
        told = {key: str(value) for key, value in self._context.invocation_metadata() or ()}
        self._trace = shared.traces.begin(told.get("traceparent"), told.get("tracestate"))
        new_id = shared.new_id()
        self._dump = shared.dumps.begin(new_id)
        traced = trace_id(told.get("traceparent"))
        return Interception(id=new_id, policy=shared.policy, duplex=self._duplex, trace_id=traced)

    def _received(self, interception: Interception, event: Told) -> Step:
        step = interception.receive(event)
        if isinstance(event, Headers):
            if interception.phase is Phase.REQUEST and not self._has_room(length(event)):
                return interception.refuse(OVERLOADED)
            if any(isinstance(reply, Refuse) and reply.is_unidentified for reply in step.replies):
                self._shared.metrics.add(Metric.UNIDENTIFIED_TOTAL)
        return step

    async def _recorded(self, interception: Interception, step: Step) -> None:
        """Hand the records in, and wait for their commit where a response is about to end."""
        if step.wait is not Wait.END:
            self._keep(step.records)
        elif not await self._safe(step.records, self._shared.end_timeout):
            if self._shared.cuts:
                self._shared.metrics.add(Metric.RESPONSES_CUT_TOTAL)
                log.warning("response cut before its records were safe", interception=interception.id)
                msg = "the records are not safe"
                raise Unrecorded(msg)
            self._shared.metrics.add(Metric.RESPONSES_LET_GO_TOTAL)
            log.warning("response let go before its records were safe", interception=interception.id)

    def _encoded(self, step: Step) -> Sequence[bytes]:
        return [wire.encode(reply, verdict=self._shared.verdict, duplex=self._duplex) for reply in step.replies]

    def _despite(self, message: wire.Message, *, was_decided: bool) -> Sequence[bytes]:
        """What to tell Envoy when reading failed: a request is refused, a response goes on without us."""
        interception = self._interception
        if was_decided or wire.is_response(message):
            if self._shared.cuts and interception is not None and not interception.is_given_up:
                self._refuse_to_go_on(interception)
            return [wire.acknowledged(message, duplex=self._duplex)]
        if interception is not None:
            self._keep(interception.close(self._now(), ErrorType.REJECTED))
        return [wire.encode(INTERNAL, verdict=self._shared.verdict)]

    def _refuse_to_go_on(self, interception: Interception) -> None:
        """Raises Unrecorded, unless everything is recorded anyway."""
        if interception.is_open:
            self._keep(self._ended(interception, ErrorType.UNOBSERVED))
            msg = "the response was not understood"
            raise Unrecorded(msg)

    def _attempt(self, work: Callable[Q, T], *args: Q.args, **kwargs: Q.kwargs) -> T | None:
        """What `work` gives; None when it fails, as nobody foresaw: it must not cost anybody a byte."""
        try:
            return work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is
            interception = self._interception
            log.error("not understood", interception=interception and interception.id, error=_described(error))  # noqa: TRY400 - a trace may hold content
            if interception is not None and not isinstance(error, OutOfOrder):
                interception.give_up()
            return None

    async def _safe(self, records: Sequence[Record], bound: float) -> bool:
        """Whether `records` were committed within `bound` seconds. They are kept either way."""
        kept, loop = self._keep(records), asyncio.get_running_loop()
        heard = loop.create_future()
        hearing = partial(hear, heard)
        kept.add_done_callback(hearing)
        late = loop.call_later(bound, hearing, kept)
        try:
            await heard
        finally:
            late.cancel()
        return kept.done()

    def _keep(self, records: Sequence[Record]) -> asyncio.Future[float]:
        records = self._shared.gate(records)
        kept = self._shared.submit(records)
        for observe in self._shared.observers:
            observe(records)
        if self._trace is not None:
            trace = self._trace
            kept.add_done_callback(lambda kept: trace.observe(records, None if kept.cancelled() else kept.result()))
        return kept

    def _has_room(self, size: int) -> bool:
        shared = self._shared
        return not shared.is_full() and shared.pending() < _MOST_PENDING and self._reserve(size)

    def _reserve(self, size: int) -> bool:
        """Whether there is room for a body of `size` bytes; what it has already counts."""
        more = max(0, size - self._reserved)
        if self._shared.held + more > self._shared.inflight_bytes:
            return False
        self._shared.held += more
        self._reserved += more
        return True

    def _release(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.add_done_callback(lambda _: self._release())
            return
        self._shared.held -= self._reserved
        self._reserved = 0

    def _now(self) -> float:
        """When it is, as if the clock had not been set since the stream began: nothing ends before it starts."""
        return self._began_at + self._shared.pulse.now() - self._began

    def _why(self) -> ErrorType:
        """Why the stream ended early. Client, provider and Envoy look the same from here; our own part we know."""
        is_ours = self._shared.stopping or self._was_late or self._is_late() or self._shared.pulse.stalled(self._began)
        return ErrorType.UNOBSERVED if is_ours else ErrorType.DISCONNECTED

    def _is_late(self) -> bool:
        return self._asked_at is not None and self._shared.pulse.now() - self._asked_at >= STALL


def hear(heard: asyncio.Future[None], _: object) -> None:
    """What is waited for is there; safe to call twice."""
    if not heard.done():
        heard.set_result(None)


def _described(error: Exception) -> str:
    """An error without its content: ours say nothing secret, of others the kind and the place."""
    if isinstance(error, SidecarError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
