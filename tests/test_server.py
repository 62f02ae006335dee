"""What a real peer cannot be made to do, or cannot see. The rest is in `contract/`."""

import asyncio
import gzip
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

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

from sidecar.core import content
from sidecar.core.errors import OutOfOrder
from sidecar.core.policy import Policy, Provider
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


def processor(disk: Disk, *, traces: object = None, clock: Clock | None = None, timeout: float = 0.01) -> Processor:
    return Processor(
        policy=Policy(providers={"openai": OPENAI}),
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


async def test_a_long_encoded_body_is_decoded_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding 32 MiB takes longer than other streams may wait."""
    threads: list[threading.Thread] = []
    decoded = content.decoded

    def noting(*args: object) -> bytes:
        threads.append(threading.current_thread())
        return decoded(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("sidecar.core.content.decoded", noting)
    data = gzip.compress(b'{"input":"' + b"x" * 100_000 + b'"}', compresslevel=0)
    heard = await play(processor(Disk()), Context([headers(("content-encoding", "gzip")), body(data)]))
    assert heard == ["request_headers", "request_body"]
    assert threads
    assert threading.main_thread() not in threads


async def test_a_body_whose_decoding_fails_in_its_thread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("sidecar.core.content.decoded")
    data = gzip.compress(b"x" * 100_000, compresslevel=0)
    heard = await play(processor(Disk()), Context([headers(("content-encoding", "gzip")), body(data)]))
    assert heard == ["request_headers", "immediate_response"]


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
