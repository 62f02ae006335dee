"""The client's side of the contract, against a service that answers as it is told."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path

import grpc
import pytest

from sidecar.pb.aibridge.recorder.v1 import recorder_pb2 as pb
from sidecar.recorder.batches import INTERCEPTIONS, Batch, StoreUnavailable
from sidecar.recorder.service import contract, remote
from sidecar.recorder.service.remote import RemoteStore
from sidecar.settings import Recorder
from tests.e2e.bridges import free_ports
from tests.e2e.waiting import PATIENCE
from tests.recorder.contract_samples import ended, prompt, together, whole

Refusal = tuple[grpc.StatusCode, str]
Answer = Callable[[pb.RecordRequest], pb.RecordResponse | Refusal]
DURABLE, UNFIT = pb.Acknowledgement.STATUS_DURABLE, pb.Acknowledgement.STATUS_UNFIT
CANARY = "sk-canary-1"


class Played:
    """A service; `requests` is what it was sent."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[pb.RecordRequest] = []
        self.answer = answer

    def record(self, request: pb.RecordRequest, context: grpc.ServicerContext) -> pb.RecordResponse:
        self.requests.append(request)
        answer = self.answer(request)
        if not isinstance(answer, pb.RecordResponse):
            context.abort(*answer)
        return answer

    def report(self, request: pb.ReportRequest, context: grpc.ServicerContext) -> pb.ReportResponse:
        if not request.since:
            context.abort(grpc.StatusCode.INTERNAL, CANARY)
        name = f"{request.since} to {request.until if request.HasField('until') else 'now'}"
        return pb.ReportResponse(actor=[pb.Usage(name=name, interceptions=3)])


@contextmanager
def playing(answer: Answer, port: int = 0) -> Iterator[tuple[Played, Recorder]]:
    played = Played(answer)
    methods = {
        "Record": grpc.unary_unary_rpc_method_handler(
            played.record, pb.RecordRequest.FromString, pb.RecordResponse.SerializeToString
        ),
        "Report": grpc.unary_unary_rpc_method_handler(
            played.report, pb.ReportRequest.FromString, pb.ReportResponse.SerializeToString
        ),
    }
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(contract.SERVICE, methods),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield played, Recorder(url=f"grpc://127.0.0.1:{port}")
    assert server.stop(None).wait(PATIENCE)


def durable(request: pb.RecordRequest) -> pb.RecordResponse:
    return acknowledged(request)


def acknowledged(request: pb.RecordRequest, *unfit: str) -> pb.RecordResponse:
    statuses = [(one.id, UNFIT if one.id in unfit else DURABLE) for one in request.records]
    return pb.RecordResponse(acknowledgements=[pb.Acknowledgement(id=id_, status=status) for id_, status in statuses])


def put(answer: Answer, batch: Batch) -> tuple[frozenset[str], list[list[str]]]:
    """What is said to be unfit, and the ids of each request."""
    with playing(answer) as (played, settings), closing(RemoteStore(settings)) as store:
        unfit = store.put(batch)
    return unfit, [[record.id for record in request.records] for request in played.requests]


def refusal(answer: Answer) -> str:
    with pytest.raises(StoreUnavailable) as raised:
        put(answer, whole())
    assert raised.value.__cause__ is None
    return str(raised.value).rpartition(": ")[2]


def test_a_small_batch_is_one_request() -> None:
    batch = together(whole("i-1"), whole("i-2"))
    unfit, requests = put(durable, batch)
    assert unfit == set()
    assert requests == [[record.id for record in contract.records(batch)]]


def test_nothing_is_no_request() -> None:
    assert put(durable, Batch(rows={})) == (frozenset(), [])


def test_a_large_batch_is_several_requests_in_order() -> None:
    """A record that is larger than a request shall be goes alone."""
    sizes = [10, 1_500_000, 1_500_000, 10, 3_000_000, 10]
    rows = [prompt(f"p-{at}", text="x" * size) for at, size in enumerate(sizes)]
    unfit, requests = put(durable, Batch(rows={"user_prompts": rows}))
    assert unfit == set()
    assert requests == [["p-0", "p-1"], ["p-2", "p-3"], ["p-4"], ["p-5"]]


def test_a_request_has_a_bounded_number_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MOST_RECORDS", 4)
    _, requests = put(durable, together(whole("i-1"), whole("i-2")))
    assert [len(request) for request in requests] == [4, 4, 4]


def test_requests_stay_below_their_bound() -> None:
    records = list(contract.records(Batch(rows={"user_prompts": [prompt(f"p-{at}") for at in range(9_000)]})))
    for request in remote.requests(records * 5):
        assert request.ByteSize() <= remote.LARGEST
        assert len(request.records) <= contract.MOST_RECORDS


def test_unfit_are_those_the_service_names_and_those_the_contract_cannot_tell() -> None:
    batch = together(whole(), Batch(rows={INTERCEPTIONS: [ended("i-2", started_at="yesterday")]}))
    unfit, _ = put(lambda request: acknowledged(request, "i-1-2"), batch)
    assert unfit == {"i-1-2", "i-2"}


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: pb.RecordResponse(acknowledgements=durable(request).acknowledgements[:-1]),
        lambda request: pb.RecordResponse(acknowledgements=durable(request).acknowledgements[::-1]),
        lambda request: pb.RecordResponse(
            acknowledgements=[pb.Acknowledgement(id=record.id) for record in request.records]
        ),
        lambda _: pb.RecordResponse(),
    ],
)
def test_what_is_not_acknowledged_is_not_stored(answer: Answer) -> None:
    assert refusal(answer) == "not every record was acknowledged"


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # somebody's overload: this size every service takes
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
    ],
)
def test_trouble_is_unavailable_and_quotes_nothing(code: grpc.StatusCode) -> None:
    assert refusal(lambda _: (code, CANARY)) == code.name


def test_nobody_there_is_unavailable(nobody: str) -> None:
    url = nobody.replace("http", "grpc")
    with closing(RemoteStore(Recorder(url=url))) as store:
        with pytest.raises(StoreUnavailable, match=f"recorder service {url}: UNAVAILABLE"):
            store.put(whole())
        with pytest.raises(StoreUnavailable):
            store.totals(None, None)


def test_a_service_that_comes_back_is_found_at_once() -> None:
    """Whoever forwards has a back-off of its own; gRPC's would wait for two minutes in the end."""
    port, _ = free_ports()
    with closing(RemoteStore(Recorder(url=f"grpc://127.0.0.1:{port}"))) as store:
        for _ in range(10):
            with pytest.raises(StoreUnavailable):
                store.put(whole())
        with playing(durable, port):
            assert store.put(whole()) == set()


def test_what_makes_a_request_invalid_is_found_by_halves() -> None:
    """Its neighbours are stored, and it does not come back for ever."""

    def picky(request: pb.RecordRequest) -> pb.RecordResponse | Refusal:
        if "i-1-2" in {record.id for record in request.records}:
            return grpc.StatusCode.INVALID_ARGUMENT, "not that one"
        return durable(request)

    unfit, requests = put(picky, whole())
    assert unfit == {"i-1-2"}
    assert requests[-1] == ["i-1-3", "i-1"]
    assert {id_ for request in requests for id_ in request} == whole().ids()


def test_a_record_too_large_for_the_service_is_unfit() -> None:
    def small(request: pb.RecordRequest) -> pb.RecordResponse | Refusal:
        if request.ByteSize() > contract.MOST_BYTES:
            return grpc.StatusCode.RESOURCE_EXHAUSTED, "too large"
        return durable(request)

    rows = [prompt("p-1"), prompt("p-2", text="x" * contract.MOST_BYTES), prompt("p-3")]
    unfit, requests = put(small, Batch(rows={"user_prompts": rows}))
    assert unfit == {"p-2"}
    assert requests == [["p-1"], ["p-2"], ["p-3"]]


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch, nobody: str) -> None:
    """Prompts would go to it in clear."""
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, nobody)
    monkeypatch.setenv("no_proxy", "")
    assert put(durable, whole())[0] == set()


def test_totals_are_asked_for_and_told() -> None:
    with playing(durable) as (_, settings), closing(RemoteStore(settings)) as store:
        usage = store.totals(date(2026, 1, 2), None)
        assert (usage["since"], usage["until"]) == ("2026-01-02", None)
        assert [(line["name"], line["interceptions"]) for line in usage["actor"]] == [("2026-01-02 to now", 3)]
        assert [(line["cost"], line["unpriced"]) for line in usage["actor"]] == [(None, None)], "it tells no costs"
        assert store.totals(date(2026, 1, 2), date(2026, 1, 3))["actor"][0]["name"] == "2026-01-02 to 2026-01-03"
        with pytest.raises(StoreUnavailable, match=": INTERNAL"):
            store.totals(None, None)


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Renewed certificates are read at the next connection; one that is gone meanwhile is trouble that passes."""
    file = tmp_path / "ca.pem"
    file.touch()
    settings = Recorder(url="grpcs://127.0.0.1:1", ca_file=file)
    file.unlink()
    with (
        closing(RemoteStore(settings)) as store,
        pytest.raises(StoreUnavailable, match=r"recorder\.ca_file = .*: No such file"),
    ):
        store.put(whole())
