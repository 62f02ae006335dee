"""In an egress gateway who asks is whose pod's certificate the connection has, whatever a header says."""

import datetime as dt
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from examples.provider import ThreadedProvider
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
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(str(folder / "root.pem"))
    return authority


@pytest.fixture(scope="module")
def running(folder: Path, root: trustme.CA, provider: ThreadedProvider) -> Iterator[Mesh]:
    own = root.issue_cert("localhost")
    own.private_key_pem.write_to_path(str(folder / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    url = provider.url.replace("127.0.0.1", "localhost")
    settings = {
        "identity": {"source": "mtls"},
        "tls": {name: str(folder / f"{stem}.pem") for name, stem in FILES.items()},
        "providers": [{"name": "openai", "base_url": f"{url}/v1", "api_key": CENTRAL_KEY}],
    }
    with mesh(folder, "gateway", settings) as started:
        yield started


FILES = {"cert_file": "cert", "key_file": "key", "client_ca_file": "root"}


def pod(folder: Path, root: trustme.CA, identity: str) -> ssl.SSLContext:
    """What a pod's Envoy connects with: a certificate that names its service account alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(root.cert_pem.bytes())
    signer = serialization.load_pem_private_key(root.private_key_pem.bytes(), None)
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / "pod.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    context = ssl.create_default_context(cafile=folder / "root.pem")
    context.load_cert_chain(file)
    return context


@pytest.fixture
def agent(folder: Path, root: trustme.CA) -> ssl.SSLContext:
    return pod(folder, root, AGENT)


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
