"""What a real peer cannot be made to do, or cannot see. The rest is in `contract/`."""

import asyncio
import gzip
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
)
from grpc import aio
from pydantic import SecretStr
from structlog.testing import capture_logs

from sidecar.core import requests
from sidecar.core.errors import OutOfOrder
from sidecar.core.policy import Bounds, Policy, Provider
from sidecar.core.records import Ended, ErrorType, Failure, Forwarded, Prompt, Record, Started
from sidecar.pulse import STALL, Pulse
from sidecar.server import Processor
from sidecar.telemetry.traces import NoTraces

OPENAI = Provider(name="openai", type="openai", base_url="https://api.openai.com/v1", api_key=SecretStr("sk-1"))
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(slots=True)
class Clock:
    """A clock that is told the time."""

    time: float = 100.0

    def __call__(self) -> float:
        return self.time


@dataclass(slots=True)
class Disk:
    """A journal whose commits are the test's to make: each at 7.0, or never."""

    commits: bool = True
    submitted: list[Record] = field(default_factory=list)
    futures: list[asyncio.Future[float]] = field(default_factory=list)

    @property
    def ended(self) -> Ended:
        """The one end."""
        [found] = [record for record in self.submitted if isinstance(record, Ended)]
        return found

    def submit(self, records: Sequence[Record]) -> asyncio.Future[float]:
        self.submitted += records
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        if self.commits:
            future.set_result(7.0)
        return future


@dataclass(slots=True)
class Seen:
    """Traces of one request, as a list."""

    parents: list[tuple[str | None, str | None]] = field(default_factory=list)
    observed: list[tuple[tuple[type, ...], float | None]] = field(default_factory=list)

    def begin(self, traceparent: str | None, tracestate: str | None = None) -> "Seen":
        self.parents.append((traceparent, tracestate))
        return self

    def observe(self, records: Sequence[Record], committed_at: float | None) -> None:
        self.observed.append((tuple(map(type, records)), committed_at))

    def close(self, timeout: float) -> None:
        """Nothing to send."""


@dataclass(slots=True)
class Context:
    """A peer that says what stands in a list."""

    says: list[ProcessingRequest]
    metadata: tuple[tuple[str, str | bytes], ...] | None = ()
    heard: list[str | None] = field(default_factory=list)

    async def read(self) -> object:
        return self.says.pop(0).SerializeToString() if self.says else aio.EOF

    async def write(self, reply: bytes) -> None:
        self.heard.append(ProcessingResponse.FromString(reply).WhichOneof("response"))

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...] | None:
        return self.metadata


def processor(
    disk: Disk,
    *,
    traces: object = None,
    clock: Clock | None = None,
    timeout: float = 0.01,
    policy: Policy | None = None,
) -> Processor:
    return Processor(
        policy=policy or Policy(providers={"openai": OPENAI}),
        submit=disk.submit,
        now=lambda: 5.0,
        new_id=lambda: "i-1",
        traces=traces or NoTraces(),  # type: ignore[arg-type]
        pulse=Pulse(clock or Clock()),
        verdict="allow",
        start_timeout=timeout,
        end_timeout=timeout,
        inflight_bytes=2**20,
        pending=lambda: 0,
        is_full=lambda: False,
    )


def headers(*more: tuple[str, str]) -> ProcessingRequest:
    pairs = ((":method", "POST"), (":path", "/openai/v1/responses"), ("x-forwarded-user", "alice"), *more)
    block = HeaderMap(headers=[HeaderValue(key=name, raw_value=value.encode()) for name, value in pairs])
    return ProcessingRequest(request_headers=HttpHeaders(headers=block))


def body(data: bytes = b'{"input":"hi"}') -> ProcessingRequest:
    return ProcessingRequest(request_body=HttpBody(body=data, end_of_stream=True))


async def play(serves: Processor, context: Context) -> list[str | None]:
    await serves.process(None, context)  # type: ignore[arg-type]
    return context.heard


def test_a_processor_without_streams_is_idle() -> None:
    assert processor(Disk()).idle.is_set()


async def test_it_is_not_idle_while_a_stream_is_open() -> None:
    serves = processor(Disk())

    class Asking(Context):
        async def read(self) -> object:
            assert not serves.idle.is_set()
            assert serves.streams == 1
            return await super().read()

    await play(serves, Asking([headers()]))
    assert serves.idle.is_set()
    assert serves.streams == 0


async def test_a_request_is_traced_under_its_caller() -> None:
    """The records in the order of their commits, with their times; what is not stored has one as well."""
    seen, disk = Seen(), Disk()
    metadata = (("traceparent", TRACEPARENT), ("tracestate", "a=b"), ("x-request-id", "1"), ("odd-bin", b"\xff"))
    assert await play(processor(disk, traces=seen), Context([headers(), body()], metadata)) == [
        "request_headers",
        "request_body",
    ]
    await asyncio.sleep(0)
    assert seen.parents == [(TRACEPARENT, "a=b")]
    assert [kinds for kinds, _ in seen.observed] == [(Started,), (Forwarded,), (Prompt, Ended)]
    assert {at for _, at in seen.observed} == {7.0}


async def test_without_a_caller_a_trace_begins_here() -> None:
    seen = Seen()
    await play(processor(Disk(), traces=seen), Context([headers()], None))
    assert seen.parents == [(None, None)]


async def test_what_is_not_known_to_be_stored_is_traced_as_such() -> None:
    seen, disk = Seen(), Disk(commits=False)
    await play(processor(disk, traces=seen), Context([headers(), body()]))
    for future in disk.futures:
        future.cancel()
    await asyncio.sleep(0)
    assert [kinds for kinds, _ in seen.observed] == [(Started,), (Ended,)]
    assert {at for _, at in seen.observed} == {None}


async def test_a_start_that_is_not_committed_in_time_is_refused() -> None:
    disk = Disk(commits=False)
    assert await play(processor(disk), Context([headers(), body()])) == ["request_headers", "immediate_response"]
    assert [type(record) for record in disk.submitted] == [Started, Ended]
    assert not any(future.cancelled() for future in disk.futures)


@pytest.mark.parametrize(
    ("pause", "stopping", "why", "message"),
    [
        (0.0, False, ErrorType.DISCONNECTED, "the client or the provider hung up"),
        (STALL, False, ErrorType.UNOBSERVED, "Envoy stopped showing the stream"),
        (0.0, True, ErrorType.UNOBSERVED, "Envoy stopped showing the stream"),
    ],
)
async def test_an_end_that_is_our_own_doing_is_told_from_the_others(
    pause: float, *, stopping: bool, why: ErrorType, message: str
) -> None:
    """A process that stood still has lost its streams: Envoy went on without it."""
    clock, disk = Clock(), Disk()
    serves = processor(disk, clock=clock)

    class Pausing(Context):
        async def read(self) -> object:
            if not self.says:
                clock.time += pause
                serves.stopping = stopping
            return await super().read()

    await play(serves, Pausing([headers(), body()]))
    ended = disk.submitted[-1]
    assert isinstance(ended, Ended)
    assert ended.failure == Failure(type=why, message=message)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_stream_that_was_answered_too_late_was_not_seen_to_its_end(*, is_cut: bool) -> None:
    """The process did not stand still, but this answer took as long as Envoy waits; `is_cut`: and was never given."""
    clock, disk = Clock(), Disk()
    serves = processor(disk, clock=clock)

    class Slow(Context):
        async def write(self, reply: bytes) -> None:
            if not self.says:
                for _ in range(2):
                    clock.time += STALL / 2
                    beating = serves.pulse.beat()
                    beating.send(None)
                    beating.close()
            if not self.says and is_cut:
                raise asyncio.CancelledError
            await super().write(reply)

    context = Slow([*answering(OK), answer(b'{"id":')])
    if is_cut:
        with pytest.raises(asyncio.CancelledError):
            await play(serves, context)
    else:
        await play(serves, context)
    assert disk.ended.failure == Failure(type=ErrorType.UNOBSERVED, message="Envoy stopped showing the stream")


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
async def test_a_stream_that_is_torn_down_is_ended(error: type[BaseException]) -> None:
    """What runs then is plain functions."""
    disk = Disk()
    serves = processor(disk)

    class Torn(Context):
        async def read(self) -> object:
            if not self.says:
                raise error
            return await super().read()

    with pytest.raises(error):
        await play(serves, Torn([headers(), body()]))
    assert [type(record) for record in disk.submitted] == [Started, Forwarded, Prompt, Ended]
    assert serves.idle.is_set()


async def test_who_ends_a_call_after_the_last_word_meets_nobody_who_reads() -> None:
    """grpc.aio never frees what it reads with where the reader is cancelled: each call of Envoy's would cost memory."""
    over, came = asyncio.Event(), asyncio.Event()

    class Reset(Context):
        async def read(self) -> object:
            if not self.says:
                came.set()
                await over.wait()
                self.heard.append("read to the end")
            return await super().read()

    context = Reset([*answering(OK), answer(b"{}", end=True)])
    serving = asyncio.create_task(play(processor(Disk()), context))
    await came.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    over.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert context.heard[-2:] == ["response_body", "read to the end"]


async def test_no_status_is_sent_to_who_resets_the_call_that_he_has_half_closed() -> None:
    """As Envoy does at once. grpc.aio never frees what it would have sent; cancelled, it sends none."""
    disk = Disk()
    serving = asyncio.create_task(play(processor(disk), Context([*answering(OK), answer(b"{}", end=True)])))
    for _ in range(20):
        await asyncio.sleep(0)
    assert isinstance(disk.submitted[-1], Ended)
    assert not serving.done()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_what_is_cut_amid_its_answer_is_recorded_before_its_call_ends() -> None:
    disk = Disk()
    serving = asyncio.create_task(play(processor(disk), Context([*answering(OK), answer(b'{"id":')])))
    for _ in range(20):
        await asyncio.sleep(0)
    assert isinstance(disk.submitted[-1], Ended)
    assert not serving.done()
    await serving


async def test_a_reply_that_cannot_be_written_ends_the_stream() -> None:
    """The peer is gone: nothing can be told it, and its interception is ended."""
    disk = Disk()
    serves = processor(disk)

    class Gone(Context):
        async def write(self, reply: bytes) -> None:
            await super().write(reply)
            if self.heard[-1] == "request_body":
                raise aio.UsageError

    with pytest.raises(aio.UsageError):
        await play(serves, Gone([headers(), body()]))
    assert [type(record) for record in disk.submitted] == [Started, Forwarded, Prompt, Ended]
    assert serves.held == 0


async def test_a_stream_that_is_cut_is_ended_before_its_peer_hears_of_it() -> None:
    """A worker that stops closes its journal before it would come back from telling."""
    disk = Disk()
    serves = processor(disk)
    serves.cuts = True

    class Cut(Context):
        async def abort(self, code: grpc.StatusCode, _: str) -> None:
            assert code is grpc.StatusCode.ABORTED
            assert disk.ended.failure is not None
            raise aio.AbortError

    with pytest.raises(aio.AbortError):
        await play(serves, Cut([headers(), body()]))
    assert [type(record) for record in disk.submitted] == [Started, Forwarded, Prompt, Ended]
    assert serves.idle.is_set()


LONG = b'{"input":"' + b"x" * 300_000 + b'"}'


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_long_request_is_read_beside_the_event_loop(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few bytes it was packed into: reading 32 MiB takes longer than other streams may wait."""
    threads: list[threading.Thread] = []
    read = requests.read

    def noting(body: bytes, most: int) -> requests.Request:
        threads.append(threading.current_thread())
        return read(body, most)

    monkeypatch.setattr("sidecar.core.requests.read", noting)
    data = gzip.compress(LONG) if encoding == "gzip" else LONG
    heard = await play(processor(Disk()), Context([headers(("content-encoding", encoding)), body(data)]))
    assert heard == ["request_headers", "request_body"]
    [thread] = threads
    assert thread is not threading.main_thread()


def counting(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> list[int]:
    """How many requests are read at once, whenever another one begins. Each takes as long as `wait` does."""
    reading: list[bytes] = []
    counts: list[int] = []
    read = requests.read

    def noting(body: bytes, recorded: int) -> requests.Request:
        reading.append(body)
        counts.append(len(reading))
        wait()
        reading.pop()
        return read(body, recorded)

    monkeypatch.setattr("sidecar.core.requests.read", noting)
    return counts


async def test_few_long_requests_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread more keeps the event loop, and so everybody else, longer from the interpreter's lock."""
    counts = counting(monkeypatch, lambda: time.sleep(0.01))
    serves = replace(processor(Disk()), inflight_bytes=8 * len(LONG))
    heard = await asyncio.gather(*(play(serves, Context([headers(), body(LONG)])) for _ in range(8)))
    assert heard == [["request_headers", "request_body"]] * 8
    assert (len(counts), max(counts)) == (8, 2)


async def test_who_hangs_up_does_not_let_more_long_requests_be_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread cannot be stopped: it keeps its place, and the room for what it reads."""
    enough = threading.Event()
    counts = counting(monkeypatch, lambda: enough.wait(10))
    serves = replace(processor(Disk()), inflight_bytes=8 * len(LONG))
    streams = [asyncio.create_task(play(serves, Context([headers(), body(LONG)]))) for _ in range(6)]
    for stream in streams:
        await asyncio.sleep(0.01)
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    assert serves.readers.locked()
    assert serves.held == 2 * len(LONG)
    enough.set()
    while serves.readers.locked() or serves.held:  # noqa: ASYNC110 - it ends, or the test does
        await asyncio.sleep(0.01)
    assert await play(serves, Context([headers(), body(LONG)])) == ["request_headers", "request_body"]
    assert (max(counts), serves.held) == (2, 0)


async def test_a_request_whose_reading_fails_in_its_thread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("sidecar.core.requests.read")
    heard = await play(processor(Disk()), Context([headers(), body(LONG)]))
    assert heard == ["request_headers", "immediate_response"]


def answer(data: bytes, *, end: bool = False) -> ProcessingRequest:
    return ProcessingRequest(response_body=HttpBody(body=data, end_of_stream=end))


def answering(*pairs: tuple[str, str]) -> list[ProcessingRequest]:
    """A request that was let go, and its response's headers."""
    block = HeaderMap(headers=[HeaderValue(key=name, raw_value=value.encode()) for name, value in pairs])
    return [headers(), body(), ProcessingRequest(response_headers=HttpHeaders(headers=block))]


OK = (":status", "200")
DOCUMENT = b'{"id":"%s"}' % (b"x" * 5_000_000)


async def test_others_have_their_turn_while_a_long_chunk_is_read() -> None:
    """A few bytes that decode to very many."""
    turns = 0
    done = asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    class Counting(Context):
        async def write(self, _: bytes) -> None:
            nonlocal turns
            before, turns = turns, 0
            self.heard.append(str(before))

    disk = Disk()
    waiting = asyncio.create_task(others())
    context = Counting([*answering(OK, ("content-encoding", "gzip")), answer(gzip.compress(DOCUMENT), end=True)])
    await play(processor(disk), context)
    done.set()
    await waiting
    assert int(context.heard[-1] or 0) >= 5_000_000 >> 20
    assert disk.ended.failure is None


async def test_more_than_there_is_room_for_is_left_unread() -> None:
    """All that is kept of the responses under way counts, little ones excepted; it is made up for as they end."""
    serves = processor(Disk(), policy=Policy(providers={"openai": OPENAI}, bounds=Bounds(response_bytes=1_500_000)))
    first, begun = Disk(), asyncio.Event()
    serves.submit = first.submit
    release = asyncio.Event()

    class Slow(Context):
        async def read(self) -> object:
            if len(self.says) == 1:
                begun.set()
                await release.wait()
            return await super().read()

    third = DOCUMENT[:1_400_000]
    slow = [Slow([*answering(OK), answer(third), answer(b"", end=True)]) for _ in range(4)]
    playing = [asyncio.create_task(play(serves, one)) for one in slow]
    await begun.wait()
    assert serves.kept == 4 * len(third)
    late = Disk()
    serves.submit = late.submit
    with capture_logs() as logged:
        await play(serves, Context([*answering(OK), answer(third), answer(b'"}', end=True)]))
        assert late.ended.failure == Failure(type=ErrorType.UNREAD, message=late.ended.failure.message)
        assert [entry["event"] for entry in logged] == ["response left unread: too much of others is kept"]
        small = Disk()
        serves.submit = small.submit
        await play(serves, Context([*answering(OK), answer(b'{"id":"resp_1"}', end=True)]))
        assert small.ended.failure is None
    release.set()
    await asyncio.gather(*playing)
    assert serves.kept == 0


async def test_of_others_errors_the_log_has_the_kind_and_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their texts may quote what was said."""
    monkeypatch.delattr("sidecar.core.requests.read")
    with capture_logs() as logged:
        await play(processor(Disk()), Context([headers(), body(b'{"input":"canary"}')]))
    [entry] = logged
    kind, _, place = entry["error"].partition(" at ")
    assert kind == "AttributeError"
    assert place.startswith("interception.py:")
    assert entry["interception"] == "i-1"


async def test_of_our_own_errors_the_log_has_the_words() -> None:
    with capture_logs() as logged:
        assert await play(processor(Disk()), Context([body()])) == ["immediate_response"]
    assert [entry["error"] for entry in logged] == ["request body cannot follow in phase start"]
    assert str(OutOfOrder("x")) == "x"
