"""gRPC served right from its completion queue: half the CPU that grpc.aio takes for a message.

    completion queue ── events, until there are none ──▶ event loop: `Call`
           └── the first after a rest ──▶ a thread ── wakes ──▲

A batch answers a message and asks for the next at once, and a chunk that tells nothing is answered where its event is
heard, without waking a task. What it stands on is `grpc._cython.cygrpc`, as grpc's own synchronous server does: no
public interface, so there is a setting for it (decision 19).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final, NoReturn

import grpc
from grpc import aio
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs tell what is public
from grpc_health.v1 import health_pb2

from sidecar import wire
from sidecar.core.errors import SidecarError
from sidecar.server import SERVICE, Processor, Quick, hear

_PLAIN = 0  # flags of an operation
_STARTED = 0  # GRPC_CALL_OK
_NOW = 0  # a deadline that is over
_AT_ONCE = 16  # events dealt with before others have their turn
_CLOSING = 0.2  # seconds that calls which were cancelled have to end; `app` has little more
_HEALTH: Final = b"/grpc.health.v1.Health/Check"
_PROCESS: Final = f"/{SERVICE}/Process".encode()
_PARTS = (
    "CompletionQueue",
    "CompletionType",
    "ReceiveCloseOnServerOperation",
    "ReceiveMessageOperation",
    "SendInitialMetadataOperation",
    "SendMessageOperation",
    "SendStatusFromServerOperation",
    "Server",
)
Tag = Callable[[Any], None]


class Server:
    """One worker's, as `serving.Server` says."""

    def __init__(self, processor: Processor, socket: Path, options: Sequence[tuple[str, int]]) -> None:
        """Raises RuntimeError where the socket cannot be, SidecarError where grpc is another than we know."""
        if missing := [part for part in _PARTS if not hasattr(cygrpc, part)]:
            msg = f'grpc_server = "completion_queue": this grpc has no {missing[0]}; allowed: "asyncio"'
            raise SidecarError(msg)
        self._loop = asyncio.get_running_loop()
        self._methods: dict[bytes, Callable[[Call], Awaitable[None]]] = {
            _PROCESS: lambda call: processor.process(None, call),
            _HEALTH: self._check,
        }
        self._is_healthy = True
        self._is_stopped = False
        self._heard: Any = None  # an event, to be dealt with on the loop
        self._resting = Lock()  # free while the loop deals with none, so that the thread may wait for the next
        self._resting.acquire()
        self._is_down = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple(options), False)  # noqa: FBT003 - as it is called: no xDS
        self._server.register_completion_queue(self._queue)
        if not self._server.add_http2_port(f"unix:{socket}".encode()):
            raise RuntimeError
        self._thread = Thread(target=self._wait, name="completion queue", daemon=True)

    async def start(self) -> None:
        """Serve."""
        self._server.start()
        self._thread.start()
        self._expect()

    async def enter_graceful_shutdown(self) -> None:
        """Be found unhealthy."""
        self._is_healthy = False

    async def stop(self, grace: float) -> None:
        """Take no call any more; those under way have `grace` seconds to end, then they are cancelled. Once."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._server.shutdown(self._queue, partial(hear, self._is_down))
        if not await self._is_over(grace):
            self._server.cancel_all_calls()
        # Who starts a batch on a queue that is shut down ends the process; of one that is left nobody is in the way.
        if await self._is_over(_CLOSING):
            self._queue.shutdown()

    async def _is_over(self, seconds: float) -> bool:
        """Whether all calls have ended, after so many seconds at the latest, and nobody will say more."""
        done, _ = await asyncio.wait((self._is_down,), timeout=seconds)
        _, busy = await asyncio.wait(self._tasks, timeout=seconds) if self._tasks else (done, ())
        return bool(done) and not busy

    def _expect(self) -> None:
        """Have the next call."""
        self._server.request_call(self._queue, self._queue, self._called)

    def _called(self, event: Any) -> None:  # noqa: ANN401 - of a module without types
        if not event.success or event.call_details.method is None:
            return  # it stops
        if not self._is_stopped:
            self._expect()
        task = Call(event, self._loop).begin(self._methods.get(event.call_details.method, _unimplemented))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _check(self, call: "Call") -> None:
        """Answer a health check."""
        data = await call.read()
        try:
            named = health_pb2.HealthCheckRequest.FromString(data if isinstance(data, bytes) else b"").service
        except wire.Malformed:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
        if named not in {"", SERVICE}:
            await call.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        status = health_pb2.HealthCheckResponse
        found = status.SERVING if self._is_healthy else status.NOT_SERVING
        await call.write(status(status=found).SerializeToString())

    def _wait(self) -> None:
        """Wake the loop for an event where it rests, on a thread of its own; what follows the loop takes by itself.

        So the thread seldom wants the interpreter's lock: while the loop is at work it waits for the loop alone.
        """
        while True:
            self._heard = self._queue.poll()
            if self._heard.completion_type == cygrpc.CompletionType.queue_shutdown:
                return
            try:
                self._loop.call_soon_threadsafe(self._take)
            except RuntimeError:  # it is closed
                return
            self._resting.acquire()

    def _take(self) -> None:
        """Deal with the events that there are, and look again once others have had their turn; rest without any."""
        count = 0
        try:
            event, self._heard = self._heard or self._queue.poll(_NOW), None
            while event.completion_type == cygrpc.CompletionType.operation_complete:
                count += 1
                event.tag(event)
                if count == _AT_ONCE:
                    break
                event = self._queue.poll(_NOW)
        finally:  # one that failed is reported by the loop, and no other waits for it
            if count:
                self._loop.call_soon(self._take)
            else:
                self._resting.release()


class _Ended(Exception):
    """The call has its status."""


class Call(Quick):
    """One call: what a stream is read from and written to, on the event loop.

    Until it is over grpc keeps it, as the tag of a batch.
    """

    def __init__(self, event: Any, loop: asyncio.AbstractEventLoop) -> None:  # noqa: ANN401
        super().__init__()
        self._call = event.call
        self._metadata = event.invocation_metadata
        self._loop = loop
        self._coming: asyncio.Future[bytes | None] | None = None  # the next message
        self._reply: bytes | None = None  # goes with the next batch
        self._is_opened = self._is_ended = False
        self._task: asyncio.Task[None] | None = None

    def begin(self, serve: Callable[["Call"], Awaitable[None]]) -> asyncio.Task[None]:
        """Have it served."""
        task = self._task = self._loop.create_task(self._served(serve))
        self._start((cygrpc.ReceiveCloseOnServerOperation(_PLAIN),), self._gone)
        return task

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """What came with the call."""
        return self._metadata or ()

    async def read(self) -> object:
        """The next message; `aio.EOF` where there is none."""
        data = await (self._coming or self._asked())
        self._coming = None
        return aio.EOF if data is None else data

    async def write(self, data: bytes) -> None:
        """Have a message sent, with the next batch at the latest."""
        if self._reply is not None:
            sent = self._loop.create_future()
            self._start(self._sending(), partial(hear, sent))
            await sent
        self._reply = data

    def ahead(self) -> None:
        """Send what is to be sent, and ask for the next message."""
        self._asked()

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End it. Raises what its handler must let pass."""
        self._end(code, details)
        raise _Ended

    async def _served(self, serve: Callable[["Call"], Awaitable[None]]) -> None:
        try:
            with suppress(_Ended):
                await serve(self)
                self._end(grpc.StatusCode.OK, "")
        finally:
            if not self._is_ended:
                self._end(grpc.StatusCode.UNKNOWN, "")
            self.quick, self._task = _leave, None  # what they were knows this call, which must go at once

    def _asked(self) -> asyncio.Future[bytes | None]:
        coming = self._coming = self._loop.create_future()
        self._exchange()
        return coming

    def _exchange(self) -> None:
        self._start((*self._sending(), cygrpc.ReceiveMessageOperation(_PLAIN)), self._came)

    def _came(self, event: Any) -> None:  # noqa: ANN401
        data = event.batch_operations[-1].message() if event is not None else None
        reply = None
        try:
            reply = None if data is None else self.quick(data)
        finally:  # what fails is reported by the loop; the message has its answer from the task
            if reply is None and self._coming is not None and not self._coming.done():
                self._coming.set_result(data)
        if reply is not None:
            self._reply = reply
            self._exchange()

    def _gone(self, event: Any) -> None:  # noqa: ANN401
        """Nothing more can be said: it has its status, or the other side has left."""
        is_cancelled = event is None or event.batch_operations[0].cancelled()
        if is_cancelled and self._task is not None:
            self._task.cancel()

    def _end(self, code: grpc.StatusCode, details: str) -> None:
        self._is_ended = True
        status = cygrpc.SendStatusFromServerOperation(None, code.value[0], details.encode(), _PLAIN)
        self._start((*self._sending(), status), _nothing)

    def _sending(self) -> tuple[Any, ...]:
        """What stands before anything else of a batch."""
        opening = () if self._is_opened else (cygrpc.SendInitialMetadataOperation(None, _PLAIN),)
        self._is_opened = True
        reply, self._reply = self._reply, None
        return opening if reply is None else (*opening, cygrpc.SendMessageOperation(reply, _PLAIN))

    def _start(self, operations: Sequence[Any], then: Tag) -> None:
        """Start a batch. Where that cannot be done, since the call is over, `then` hears of no event."""
        if self._call.start_server_batch(operations, then) != _STARTED:
            self._loop.call_soon(then, None)


def _nothing(_: Any) -> None:  # noqa: ANN401
    pass


def _leave(_: bytes) -> None:
    return None


async def _unimplemented(call: Call) -> None:
    await call.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
