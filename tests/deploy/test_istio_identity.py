"""In an egress gateway who asks is whose pod's certificate the connection has, whatever a header says."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from examples.provider import ThreadedProvider
from tests.deploy.certificates import FILES, issued, showing
from tests.deploy.meshes import Mesh, mesh
from tests.e2e.bridges import CENTRAL_KEY
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.forgeries import SPOOFS
from tests.e2e.identities import ask_securely, certificate
from tests.e2e.scripts import Script

AGENT = "spiffe://cluster.local/ns/aibridge/sa/agent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def root(folder: Path) -> trustme.CA:
    """The mesh's."""
    return issued(folder)


@pytest.fixture(scope="module")
def running(folder: Path, root: trustme.CA, named: dict[str, object]) -> Iterator[Mesh]:  # noqa: ARG001 - has issued
    tls = {name: str(folder / file) for name, file in FILES.items()}
    settings = {"identity": {"source": "mtls"}, "tls": tls, "providers": [named]}
    with mesh(folder, "gateway", settings, authorities=str(named["ca_file"])) as started:
        yield started


@pytest.fixture
def agent(folder: Path, root: trustme.CA) -> ssl.SSLContext:
    return showing(folder, root, AGENT)


def test_the_mesh_says_who_asks(
    running: Mesh, agent: ssl.SSLContext, script: Script, beyond: ThreadedProvider, case: str
) -> None:
    script[case] = whole(case)
    answer = ask_securely(running.port, agent, case, ASKED, running.host, *SPOOFS)
    assert (answer.status, answer.body) == (200, whole(case).body)
    assert running.ending(case).interception["initiator_id"] == AGENT
    (seen,) = beyond.seen[case]
    assert [name for name, _ in SPOOFS if seen.all(name)] == []
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]


def test_a_certificate_that_names_nobody_is_refused(
    running: Mesh, tmp_path: Path, root: trustme.CA, beyond: ThreadedProvider, case: str
) -> None:
    nobody = certificate(tmp_path, root)
    answer = ask_securely(running.port, nobody, case, ASKED, running.host, *SPOOFS)
    assert (answer.status, answer.json()) == (400, {"code": "400", "message": "no actor found"})
    assert (beyond.seen[case], running.sessions(case)) == ([], [])


def test_without_a_certificate_of_the_mesh_there_is_no_connection(
    running: Mesh, tmp_path: Path, root: trustme.CA, beyond: ThreadedProvider, case: str
) -> None:
    another = certificate(tmp_path, trustme.CA(key_type=trustme.KeyType.ECDSA), uri=AGENT)
    bare = ssl.create_default_context()
    for shown in (another, bare):
        root.configure_trust(shown)
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            ask_securely(running.port, shown, case, ASKED, running.host)
    with pytest.raises((ConnectionError, EOFError)):
        ask(running.port, case, ASKED, running.host)
    assert (beyond.seen[case], running.sessions(case)) == ([], [])
