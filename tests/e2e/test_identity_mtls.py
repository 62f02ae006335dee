"""Who asks is who the client's certificate says; without one of the right authority there is no connection."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from examples.provider import ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, Bridge, bridge
from tests.e2e.connections import Response, ask
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.forgeries import SPOOFS
from tests.e2e.identities import ask_securely, certificate
from tests.e2e.replaying import NAMES, PLAYS, Stage
from tests.e2e.scripts import Script
from tests.transcripts import Transcript

AGENT = "spiffe://mesh.example/agent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mtls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> trustme.CA:
    made = trustme.CA(key_type=trustme.KeyType.ECDSA)
    made.cert_pem.write_to_path(str(folder / "ca.pem"))
    return made


@pytest.fixture(scope="module")
def running(folder: Path, authority: trustme.CA, provider: ThreadedProvider) -> Iterator[Bridge]:
    own = authority.issue_cert("localhost")
    own.private_key_pem.write_to_path(str(folder / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    tls = {
        "cert_file": str(folder / "cert.pem"),
        "key_file": str(folder / "key.pem"),
        "client_ca_file": str(folder / "ca.pem"),
    }
    with bridge(folder, provider.url, identity={"source": "mtls"}, tls=tls) as started:
        yield started
        assert started.stop() == 0


@pytest.fixture(scope="module")
def agent(folder: Path, authority: trustme.CA) -> ssl.SSLContext:
    return certificate(folder, authority, uri=AGENT, dns="agent.example")


@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_untouched_and_is_recorded_for_the_workload(  # noqa: PLR0913, PLR0917 - fixtures
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    case: str,
    running: Bridge,
    agent: ssl.SSLContext,
    provider: ThreadedProvider,
    script: Script,
) -> None:
    def asked(body: bytes, path: str) -> Response:
        return ask_securely(running.port, agent, case, body, path=path)

    Stage(running, provider, script).replay(case, transcript, streaming=streaming, actor=AGENT, ask=asked)


def test_no_header_says_otherwise(
    case: str, running: Bridge, agent: ssl.SSLContext, provider: ThreadedProvider, script: Script
) -> None:
    script[case] = whole(case)
    assert ask_securely(running.port, agent, case, ASKED, *SPOOFS).status == 200
    (seen,) = provider.seen[case]
    assert [name for name, _ in SPOOFS if seen.all(name)] == []
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    assert running.session(case).interception["initiator_id"] == AGENT


def test_the_clients_own_key_is_used(
    case: str, running: Bridge, agent: ssl.SSLContext, provider: ThreadedProvider, script: Script
) -> None:
    """The certificate says who asks, so `authorization` is free."""
    script[case] = whole(case)
    own = ("authorization", "Bearer sk-own-0123456789abcdef")
    assert ask_securely(running.port, agent, case, ASKED, own).status == 200
    assert provider.seen[case][0].all("authorization") == [own[1]]


def test_without_a_spiffe_id_the_dns_name_stands_in(
    case: str, folder: Path, authority: trustme.CA, running: Bridge, script: Script
) -> None:
    script[case] = whole(case)
    shown = certificate(folder, authority, uri="https://agent.example/", dns="agent.example")
    assert ask_securely(running.port, shown, case, ASKED, *SPOOFS).status == 200
    assert running.session(case).interception["initiator_id"] == "agent.example"


def test_a_certificate_that_names_nobody_is_refused(
    case: str, folder: Path, authority: trustme.CA, running: Bridge
) -> None:
    response = ask_securely(running.port, certificate(folder, authority), case, ASKED, *SPOOFS)
    assert (response.status, response.json()) == (400, {"code": "400", "message": "no actor found"})
    assert running.sessions(case) == []


def test_another_authority_s_certificate_gets_no_connection(
    case: str, tmp_path: Path, authority: trustme.CA, running: Bridge
) -> None:
    """TLS refuses it (RFC 8446, section 4.4.2.4), and Envoy counts that."""
    forged = certificate(tmp_path, trustme.CA(key_type=trustme.KeyType.ECDSA), uri=AGENT)
    authority.configure_trust(forged)
    before = running.statistic("listener.127.0.0.1_.*.ssl.fail_verify_error")
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        ask_securely(running.port, forged, case, ASKED)
    assert running.statistic("listener.127.0.0.1_.*.ssl.fail_verify_error") == before + 1


def test_no_certificate_gets_no_connection(case: str, authority: trustme.CA, running: Bridge) -> None:
    bare = ssl.create_default_context()
    authority.configure_trust(bare)
    before = running.statistic("listener.127.0.0.1_.*.ssl.fail_verify_no_cert")
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        ask_securely(running.port, bare, case, ASKED)
    with pytest.raises((ConnectionError, EOFError)):
        ask(running.port, case, ASKED)
    assert running.statistic("listener.127.0.0.1_.*.ssl.fail_verify_no_cert") == before + 1
