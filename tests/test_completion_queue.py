"""What the server on gRPC's completion queue has for itself; what both servers do is in `contract/`."""

import asyncio
import gc
from pathlib import Path
from typing import get_args

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar import completion_queue
from sidecar.completion_queue import Call
from sidecar.core.errors import SidecarError
from sidecar.serving import listen
from sidecar.settings.model import ServerKind
from tests.contract import peer
from tests.contract.worker import Worker, serving

ANOTHER = "/envoy.service.ext_proc.v3.ExternalProcessor/Another"


@pytest.fixture(autouse=True)
def served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.contract.worker.SERVED", "completion_queue")


def calls() -> int:
    return sum(isinstance(one, Call) for one in gc.get_objects())


async def exchange(worker: Worker) -> None:
    stream = worker.stream()
    await stream.ask(peer.request_headers(), peer.request_body(b'{"model":"gpt-5","input":"hi"}'))
    await stream.end()


async def test_a_call_that_is_over_leaves_nothing_to_be_collected(tmp_path: Path) -> None:
    """A gRPC call holds a connection's memory; it goes at once, not when there is a collection."""
    async with serving(tmp_path) as worker:
        gc.collect()
        gc.disable()
        try:
            before = calls()
            for _ in range(3):
                await exchange(worker)
            await worker.settled()
            async with asyncio.timeout(peer.PATIENCE):
                while calls() > before:  # noqa: ASYNC110 - grpc tells nobody that it has let go
                    await asyncio.sleep(0)
        finally:
            gc.enable()


async def test_what_fails_in_one_call_is_reported_and_no_other_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))
    came, failures = Call._came, iter([True])  # noqa: SLF001 - made to fail once

    def failing(self: Call, event: object) -> None:
        if next(failures, False):
            msg = "once"
            raise RuntimeError(msg)
        came(self, event)

    monkeypatch.setattr(Call, "_came", failing)
    async with serving(tmp_path) as worker:
        lost, other = worker.stream(), worker.stream()
        await lost.tell(peer.request_headers())
        await exchange(worker)
        await other.ask(peer.request_headers())
        await other.end()
    assert [str(told["exception"]) for told in reported] == ["once"]


async def test_what_fails_beside_a_message_is_reported_and_the_message_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))

    def failing(*_: object) -> None:
        msg = "beside it"
        raise RuntimeError(msg)

    monkeypatch.setattr("sidecar.server._quick", failing)
    async with serving(tmp_path) as worker:
        stream = worker.stream()
        assert await stream.ask(peer.request_headers()) == [peer.HEADERS_SEEN]
        assert await stream.ask(peer.request_body(b'{"model":"gpt-5","input":"hi"}'))
        await stream.end()
    assert {str(told["exception"]) for told in reported} == {"beside it"}


async def test_only_what_there_is_can_be_called_and_only_what_serves_has_health(tmp_path: Path) -> None:
    async with serving(tmp_path) as worker:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await worker.channel.unary_unary(ANOTHER)(b"", timeout=peer.PATIENCE)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        stub = health_pb2_grpc.HealthStub(worker.channel)
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.Check(health_pb2.HealthCheckRequest(service="another"), timeout=peer.PATIENCE)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as malformed:
            await worker.channel.unary_unary("/grpc.health.v1.Health/Check")(b"\xff", timeout=peer.PATIENCE)
        assert malformed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("part", completion_queue._PARTS)  # noqa: SLF001 - what it stands on
async def test_a_grpc_that_lacks_a_part_is_refused_by_the_settings_name(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.contract.worker.SERVED", "asyncio")
    async with serving(tmp_path) as worker:
        monkeypatch.delattr(completion_queue.cygrpc, part)
        with pytest.raises(SidecarError, match=r'grpc_server = "completion_queue".*allowed: "asyncio"'):
            await listen(worker.processor, tmp_path / "another", "completion_queue")


@pytest.mark.parametrize("kind", get_args(ServerKind))
async def test_a_socket_that_cannot_be_is_said_in_one_line(kind: ServerKind, tmp_path: Path) -> None:
    async with serving(tmp_path) as worker:
        with pytest.raises(SidecarError, match="cannot listen at"):
            await listen(worker.processor, tmp_path / "nowhere" / "s", kind)
