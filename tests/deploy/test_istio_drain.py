"""An egress gateway's pod ends: istio-proxy with its last connection, as the chart tells it, and then the sidecar."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests.deploy.meshes import Mesh, mesh
from tests.e2e.connections import Connection, asking
from tests.e2e.exchanges import ASKED_STREAM, FIRST, pieces, streamed
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE, eventually


@pytest.fixture
def running(tmp_path: Path, named: dict[str, object]) -> Iterator[Mesh]:
    settings = {"identity": {"trust_header": True}, "providers": [named]}
    with mesh(tmp_path, "gateway", settings, authorities=str(named["ca_file"])) as started:
        yield started


def test_a_stream_outlives_the_order_to_end_and_is_recorded_to_its_end(
    running: Mesh, script: Script, beyond: ThreadedProvider, case: str
) -> None:
    script[case] = streamed(case, hold=1)
    with asking(running.port, case, ASKED_STREAM, running.host) as connection:
        first = begun(connection)
        running.drain()
        eventually(lambda: refuses(running.port), "no new connections")
        assert running.connections() == 1
        beyond.release(case)
        assert first + connection.rest()[0] == b"".join(pieces(case))
    eventually(lambda: running.connections() == 0, "istio-proxy's reason to end")
    assert running.stop() == [0, 0]
    assert running.session(case).ended == ("completed", None, 200)


def test_what_is_cut_when_the_pod_s_time_is_over_is_recorded_as_cut(running: Mesh, script: Script, case: str) -> None:
    """The kubelet kills istio-proxy then, and tells the sidecar to end."""
    script[case] = streamed(case, hold=1)
    with asking(running.port, case, ASKED_STREAM, running.host) as connection:
        begun(connection)
        running.drain()
        sidecar, proxy = running.processes
        proxy.kill()
        proxy.wait()
        assert connection.rest()[1] is False
        sidecar.terminate()
        assert running.stop()[1] == 0
    assert running.session(case).ended == ("failed", "disconnected", 200)


def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def begun(connection: Connection) -> bytes:
    """The first event of a stream that is under way."""
    assert connection.head().status == 200
    return connection.until(FIRST)
