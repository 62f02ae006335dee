"""In an egress gateway who asks is whose pod's certificate the connection has, whatever a header says."""

import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest
import trustme

from examples.provider import ThreadedProvider
from tests.deploy.certificates import FILES, issued, showing
from tests.deploy.meshes import Mesh, mesh
from tests.e2e import recorded
from tests.e2e.bridges import CENTRAL_KEY
from tests.e2e.connections import RESPONSES, headers
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE, eventually

AGENT = "spiffe://cluster.local/ns/aibridge/sa/agent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def root(folder: Path) -> trustme.CA:
    """The mesh's."""
    return issued(folder)


@pytest.fixture(scope="module")
def running(
    folder: Path,
    root: trustme.CA,  # noqa: ARG001 - has issued what is in the folder
    provider: ThreadedProvider,
) -> Iterator[Mesh]:
    url = provider.url.replace("127.0.0.1", "localhost")
    settings = {
        "identity": {"source": "mtls"},
        "tls": {name: str(folder / file) for name, file in FILES.items()},
        "providers": [{"name": "openai", "base_url": f"{url}/v1", "api_key": CENTRAL_KEY}],
    }
    with mesh(folder, "gateway", settings) as started:
        yield started


@pytest.fixture
def agent(folder: Path, root: trustme.CA) -> ssl.SSLContext:
    return showing(folder, root, AGENT)


def test_the_mesh_says_who_asks(
    running: Mesh, agent: ssl.SSLContext, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = whole(case)
    connection = HTTPSConnection("localhost", running.port, timeout=PATIENCE, context=agent)
    connection.request("POST", RESPONSES, ASKED, dict(headers(case, ("host", f"localhost:{running.port}"))))
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, whole(case).body)
    connection.close()
    eventually(lambda: recorded.sessions(running.database, case), "a record")
    (found,) = recorded.sessions(running.database, case)
    assert found.interception["initiator_id"] == AGENT
    assert [name for name, _ in provider.seen[case][-1].headers if name.lower() == "x-forwarded-client-cert"] == []
