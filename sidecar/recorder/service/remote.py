"""The Recorder service as a store: batches as requests of the public contract, each record acknowledged by itself."""

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Final, TypeVar

import grpc
from google.protobuf.message import Message

from sidecar.pb.aibridge.recorder.v1 import recorder_pb2 as pb
from sidecar.recorder.batches import Batch, StoreUnavailable
from sidecar.recorder.service import contract
from sidecar.recorder.usage import Totals
from sidecar.settings import Recorder

DEADLINE: Final = 30.0  # seconds for one request with records
_REPORT: Final = 300.0  # seconds for a report, which reads all there is
LARGEST: Final = 2_097_152  # bytes of a request with several records
_FRAME: Final = 16  # bytes at most around a record in a request: its tag and its length
_DURABLE, _UNFIT = pb.Acknowledgement.STATUS_DURABLE, pb.Acknowledgement.STATUS_UNFIT
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),  # a report has a line for each actor
    ("grpc.max_send_message_length", -1),
    # A proxy is for who is asked for elsewhere, and would see what is sent in clear to loopback.
    ("grpc.enable_http_proxy", 0),
    # Whoever calls has a back-off of his own: a new channel tries at once, whatever became of the last one.
    ("grpc.use_local_subchannel_pool", 1),
)

Answer = TypeVar("Answer", bound=Message)


class RemoteStore:
    """A `Store`. Connects at the first call, and anew (its files read again) after trouble."""

    def __init__(self, recorder: Recorder) -> None:
        """`recorder`: its `url` begins with `grpc://` or `grpcs://`."""
        self._recorder = recorder
        self._channel: grpc.Channel | None = None

    def put(self, batch: Batch) -> frozenset[str]:
        """As `Store.put`, in several requests where the batch is large, each with a deadline of `DEADLINE` seconds."""
        records = list(contract.records(batch))
        unfit = set(batch.ids() - {record.id for record in records})
        for request in requests(records):
            unfit |= self._put(request)
        return frozenset(unfit)

    def totals(self, since: date | None, until: date | None) -> Totals:
        """What the service's records add up to from `since` to `until`, both included. Raises `StoreUnavailable`."""
        request = pb.ReportRequest(
            since=since.isoformat() if since else None, until=until.isoformat() if until else None
        )
        try:
            response = self._call("Report", request, pb.ReportResponse, _REPORT)
        except grpc.RpcError as error:
            raise self._unavailable(_code(error).name) from None
        return contract.totals(response, since, until)

    def close(self) -> None:
        """As `Store.close`."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _put(self, request: pb.RecordRequest) -> set[str]:
        try:
            response = self._call("Record", request, pb.RecordResponse)
        except grpc.RpcError as error:
            if not _is_refused(_code(error), request):
                raise self._unavailable(_code(error).name) from None
            if len(request.records) == 1:
                return {request.records[0].id}
            return set().union(*map(self._put, _halves(request)))
        return self._unfit(request, response)

    def _unfit(self, request: pb.RecordRequest, response: pb.RecordResponse) -> set[str]:
        found = response.acknowledgements
        same = [record.id for record in request.records] == [one.id for one in found]
        if not same or any(one.status not in {_DURABLE, _UNFIT} for one in found):
            msg = "not every record was acknowledged"
            raise self._unavailable(msg)
        return {one.id for one in found if one.status == _UNFIT}

    def _call(self, method: str, request: Message, answer: type[Answer], deadline: float = DEADLINE) -> Answer:
        channel = self._channel = self._channel or self._connected()
        call = channel.unary_unary(
            f"/{contract.SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=deadline)

    def _connected(self) -> grpc.Channel:
        scheme, _, target = self._recorder.url.partition("://")
        if scheme == "grpc":
            return grpc.insecure_channel(target, options=_OPTIONS)
        credentials = grpc.ssl_channel_credentials(
            root_certificates=self._read("ca_file", self._recorder.ca_file),
            private_key=self._read("key_file", self._recorder.key_file),
            certificate_chain=self._read("cert_file", self._recorder.cert_file),
        )
        return grpc.secure_channel(target, credentials, options=_OPTIONS)

    def _read(self, setting: str, path: Path | None) -> bytes | None:
        try:
            return path.read_bytes() if path else None
        except OSError as error:
            msg = f"recorder.{setting} = {str(path)!r}: {error.strerror}"
            raise self._unavailable(msg) from None

    def _unavailable(self, reason: str) -> StoreUnavailable:
        self.close()
        return StoreUnavailable(f"recorder service {self._recorder.url}: {reason}")


def requests(records: Iterable[pb.Record]) -> Iterator[pb.RecordRequest]:
    """The records in their order, as few requests as `LARGEST` and `contract.MOST_RECORDS` allow."""
    some: list[pb.Record] = []
    size = 0
    for record in records:
        more = record.ByteSize() + _FRAME
        if some and (size + more > LARGEST or len(some) == contract.MOST_RECORDS):
            yield pb.RecordRequest(records=some)
            some, size = [], 0
        some.append(record)
        size += more
    if some:
        yield pb.RecordRequest(records=some)


def _is_refused(code: grpc.StatusCode, request: pb.RecordRequest) -> bool:
    """Whether it would never be taken as it is. What every service takes by size was refused for another reason."""
    too_large = code is grpc.StatusCode.RESOURCE_EXHAUSTED and request.ByteSize() > contract.MOST_BYTES
    return too_large or code is grpc.StatusCode.INVALID_ARGUMENT


def _halves(request: pb.RecordRequest) -> Iterator[pb.RecordRequest]:
    middle = len(request.records) // 2
    yield pb.RecordRequest(records=request.records[:middle])
    yield pb.RecordRequest(records=request.records[middle:])


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    return error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
