"""The Recorder service's methods, and its health: what the public contract asks of a store."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Final, TypeAlias

import grpc
import structlog
from grpc import aio
from grpc_health.v1 import health, health_pb2

from sidecar.core.errors import BadSetting, SidecarError
from sidecar.pb.aibridge.recorder.v1 import recorder_pb2 as pb
from sidecar.recorder import reading
from sidecar.recorder.batches import StoreUnavailable
from sidecar.recorder.service import contract
from sidecar.recorder.service.gathering import Gathering
from sidecar.recorder.usage import Totals

log = structlog.get_logger()

MOST_REPORTS: Final = 4  # at once: each reads the tables
_LOOK: Final = 1.0  # seconds between two looks at the store
_SILENCE: Final = 10.0  # seconds without an answer after which it is taken for away

# Overload looks like a store that is away: a client keeps what it has, and comes again. RESOURCE_EXHAUSTED would say
# that a record is too large.
_BUSY: Final = (grpc.StatusCode.UNAVAILABLE, "too many at once")
_AWAY: Final = (grpc.StatusCode.UNAVAILABLE, "the store is unavailable")
_DRAINING: Final = (grpc.StatusCode.UNAVAILABLE, "the service is about to end")
_TOO_MANY: Final = (grpc.StatusCode.INVALID_ARGUMENT, f"more than {contract.MOST_RECORDS} records")
_NO_DAYS: Final = (grpc.StatusCode.INVALID_ARGUMENT, "since and until are days, YYYY-MM-DD, in their order")

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Health: TypeAlias = health.aio.HealthServicer
RecordContext: TypeAlias = "aio.ServicerContext[pb.RecordRequest, pb.RecordResponse]"
ReportContext: TypeAlias = "aio.ServicerContext[pb.ReportRequest, pb.ReportResponse]"


@dataclass(slots=True, kw_only=True)
class Recorder:
    """`totals` blocks, and raises `SidecarError` when it cannot tell; `most`: batches at once."""

    gathering: Gathering
    totals: Callable[[date | None, date | None], Totals]
    most: int
    health: Health = field(default_factory=Health)
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # set while there is no call
    calls: int = 0
    _reports: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_REPORTS))
    _is_draining: bool = False
    _is_away: bool = False

    def __post_init__(self) -> None:
        self.idle.set()

    def handler(self) -> grpc.GenericRpcHandler:
        """The service as grpc wants it."""
        record: grpc.RpcMethodHandler[pb.RecordRequest, pb.RecordResponse] = grpc.unary_unary_rpc_method_handler(
            self.record, pb.RecordRequest.FromString, pb.RecordResponse.SerializeToString
        )
        report: grpc.RpcMethodHandler[pb.ReportRequest, pb.ReportResponse] = grpc.unary_unary_rpc_method_handler(
            self.report, pb.ReportRequest.FromString, pb.ReportResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler(contract.SERVICE, {"Record": record, "Report": report})

    async def record(self, request: pb.RecordRequest, context: RecordContext) -> pb.RecordResponse:
        """Acknowledge each record once it is durable."""
        if len(request.records) > contract.MOST_RECORDS:
            await context.abort(*_TOO_MANY)
        if self._is_draining or self.gathering.batches >= self.most:
            await context.abort(*(_DRAINING if self._is_draining else _BUSY))
        with self._call():
            try:
                unfit = await self.gathering.put(request.records)
            except StoreUnavailable as error:
                await self._heard(error)
                await context.abort(*_AWAY)
            await self._heard(None)
            return pb.RecordResponse(acknowledgements=[_acknowledged(one.id, unfit) for one in request.records])

    async def report(self, request: pb.ReportRequest, context: ReportContext) -> pb.ReportResponse:
        """Tell what the records add up to."""
        try:
            since, until = reading.days(_given(request, "since"), _given(request, "until"))
        except BadSetting:
            await context.abort(*_NO_DAYS)
        if self._is_draining or self._reports.locked():
            await context.abort(*(_DRAINING if self._is_draining else _BUSY))
        with self._call():
            async with self._reports:
                try:
                    return contract.report(await asyncio.to_thread(self.totals, since, until))
                except SidecarError as error:
                    log.warning("a report cannot be told", reason=str(error))
                    await context.abort(*_AWAY)

    async def watch(self) -> None:
        """Look at the store, for ever: health tells whether it can be reached."""
        while True:
            try:
                await asyncio.wait_for(self.gathering.ask(), _SILENCE)
            except StoreUnavailable as error:
                await self._heard(error)
            except TimeoutError:
                await self._heard(StoreUnavailable("the store does not answer"))
            else:
                await self._heard(None)
            await asyncio.sleep(_LOOK)

    async def drain(self) -> None:
        """Take nothing new, and wait until nothing is under way."""
        self._is_draining = True
        await self.health.enter_graceful_shutdown()
        await self.idle.wait()

    @contextmanager
    def _call(self) -> Iterator[None]:
        self.calls += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.calls -= 1
            if not self.calls:
                self.idle.set()

    async def _heard(self, trouble: StoreUnavailable | None) -> None:
        is_away = trouble is not None
        if is_away and not self._is_away:
            log.warning("the store is unavailable, batches are refused", reason=str(trouble))
        elif self._is_away and not is_away:
            log.warning("the store is back")
        self._is_away = is_away
        for name in ("", contract.SERVICE):
            await self.health.set(name, NOT_SERVING if is_away else SERVING)


def _acknowledged(record: str, unfit: frozenset[str]) -> pb.Acknowledgement:
    status = pb.Acknowledgement.STATUS_UNFIT if record in unfit else pb.Acknowledgement.STATUS_DURABLE
    return pb.Acknowledgement(id=record, status=status)


def _given(request: pb.ReportRequest, name: str) -> str | None:
    return str(getattr(request, name)) if request.HasField(name) else None
