"""TLS on both sides: not the oldest versions, and certificates that change while streams run."""

import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from examples.provider import Provider, ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, Bridge, bridge
from tests.e2e.connections import request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, FIRST, pieces, streamed, whole
from tests.e2e.identities import Secured, ask_securely, certificate
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

AGENT = "spiffe://mesh.example/agent"
OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]
NEW = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
REFUSED = (ssl.SSLError, ConnectionError, EOFError)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> trustme.CA:
    return put(folder)


def put(folder: Path) -> trustme.CA:
    """Issue all anew: what clients are shown, what theirs are judged by, and the provider's."""
    made = trustme.CA(key_type=trustme.KeyType.ECDSA)
    own = made.issue_cert("localhost")
    for name, pem in (("key", own.private_key_pem), ("cert", own.cert_chain_pems[0]), ("ca", made.cert_pem)):
        pem.write_to_path(str(folder / f"{name}.new"))
        (folder / f"{name}.new").replace(folder / f"{name}.pem")
    return made


@contextmanager
def serving(authority: trustme.CA, script: Script, *versions: ssl.TLSVersion) -> Iterator[ThreadedProvider]:
    """A provider that speaks these versions alone; none: all that are usual."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    limit(context, *versions)
    with ThreadedProvider(Provider(script, pace=0, tls=context)) as running:
        yield running


def limit(context: ssl.SSLContext, *versions: ssl.TLSVersion) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are what some tests are about
        for version in versions:
            context.minimum_version = context.maximum_version = version
            if version in OLD:
                context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def settings(folder: Path, *provided: ThreadedProvider) -> dict[str, object]:
    files = {"cert_file": "cert.pem", "key_file": "key.pem", "client_ca_file": "ca.pem"}
    providers = [
        {
            "name": f"p{index}",
            "base_url": f"{one.url.replace('127.0.0.1', 'localhost')}/v1",
            "api_key": CENTRAL_KEY,
            "ca_file": str(folder / "ca.pem"),
            "max_retries": 0,
        }
        for index, one in enumerate(provided)
    ]
    tls = {name: str(folder / file) for name, file in files.items()}
    return {"identity": {"source": "mtls"}, "tls": tls, "providers": providers}


@pytest.fixture(scope="module")
def providers(authority: trustme.CA, script: Script) -> Iterator[list[ThreadedProvider]]:
    """In the order of their only versions, the oldest first."""
    first, second, third, fourth = (serving(authority, script, version) for version in (*OLD, *NEW))
    with first as one, second as two, third as three, fourth as four:
        yield [one, two, three, four]


@pytest.fixture(scope="module")
def running(folder: Path, providers: list[ThreadedProvider]) -> Iterator[Bridge]:
    with bridge(folder, "", **settings(folder, *providers)) as started:
        yield started
        assert started.stop() == 0


def path(index: int) -> str:
    return f"/p{index}/v1/responses"


@pytest.mark.parametrize("version", OLD)
def test_a_client_of_an_old_version_gets_no_connection(
    version: ssl.TLSVersion, case: str, folder: Path, authority: trustme.CA, running: Bridge
) -> None:
    with pytest.raises(REFUSED):
        ask_securely(running.port, limit(certificate(folder, authority, uri=AGENT), version), case, ASKED)
    assert running.sessions(case) == []


@pytest.mark.parametrize("version", NEW)
def test_a_client_of_a_new_one_gets_its_answer(  # noqa: PLR0913, PLR0917 - fixtures
    version: ssl.TLSVersion, case: str, folder: Path, authority: trustme.CA, running: Bridge, script: Script
) -> None:
    script[case] = whole(case)
    shown = limit(certificate(folder, authority, uri=AGENT), version)
    assert ask_securely(running.port, shown, case, ASKED, path=path(3)).status == 200


@pytest.mark.parametrize("index", range(4))
def test_a_provider_is_asked_by_new_versions_alone(  # noqa: PLR0913, PLR0917 - fixtures
    index: int,
    case: str,
    folder: Path,
    authority: trustme.CA,
    running: Bridge,
    script: Script,
    providers: list[ThreadedProvider],
) -> None:
    script[case] = whole(case)
    shown = certificate(folder, authority, uri=AGENT)
    response = ask_securely(running.port, shown, case, ASKED, path=path(index))
    is_new = index >= len(OLD)
    assert (response.status == 200, bool(providers[index].seen[case])) == (is_new, is_new)


@pytest.fixture
def changing(tmp_path: Path, script: Script) -> Iterator[tuple[trustme.CA, ThreadedProvider, Bridge]]:
    """A bridge whose files tests change, with the authority that issued what is there now."""
    first = put(tmp_path)
    with serving(first, script) as provided, bridge(tmp_path, "", **settings(tmp_path, provided)) as started:
        yield first, provided, started
        assert started.stop() == 0


def status(running: Bridge, shown: ssl.SSLContext, case: str) -> int:
    """What a request by a new connection gets; 0: no connection."""
    try:
        return ask_securely(running.port, shown, case, ASKED, path=path(0)).status
    except REFUSED:
        return 0


def test_new_certificates_and_authorities_count_for_new_connections_and_cut_no_stream(
    changing: tuple[trustme.CA, ThreadedProvider, Bridge], tmp_path: Path, script: Script, case: str
) -> None:
    """All at once: who has the old certificate is refused then, and the provider, which has it too, is not asked."""
    first, provided, running = changing
    script[case] = [streamed(case, hold=1), whole(case)]
    old = certificate(tmp_path, first, uri=AGENT)
    before = running.children()
    with Secured(running.port, old) as connection:
        connection.send(request(case, ASKED_STREAM, path=path(0)))
        assert connection.head().status == 200
        got = connection.until(FIRST)
        second = put(tmp_path)
        new = certificate(tmp_path, second, uri=AGENT)
        eventually(lambda: status(running, new, case) != 0, "a connection by the new certificate")
        assert status(running, old, case) == 0
        provided.release(case)
        assert got + connection.rest()[0] == b"".join(pieces(case))
    asked = len(provided.seen[case])
    assert running.children() == before
    eventually(lambda: status(running, new, case) == 503, "the provider to be judged anew")
    (tmp_path / "ca.pem").write_bytes(second.cert_pem.bytes() + first.cert_pem.bytes())
    eventually(lambda: status(running, new, case) == 200, "the old authority to count again")
    assert len(provided.seen[case]) > asked


def test_what_does_not_fit_together_is_not_used_and_told_once(
    changing: tuple[trustme.CA, ThreadedProvider, Bridge], tmp_path: Path, script: Script, case: str
) -> None:
    """A key without its certificate, say, while somebody copies them one by one."""
    first, _, running = changing
    script[case] = whole(case)
    shown = certificate(tmp_path, first, uri=AGENT)
    other = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("localhost")
    other.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    eventually(running.complaints, "a warning")
    assert status(running, shown, case) == 200
    put(tmp_path)
    eventually(lambda: status(running, shown, case) == 0, "the new ones to be used")
    (line,) = running.complaints()
    assert "tls.cert_file" in line
    assert "PRIVATE" not in running.output
