"""Every situation through Istio's listener with our patches: what passes and what is recorded is as it is elsewhere."""

import ssl
from collections.abc import Iterator

import pytest

from examples.provider import ThreadedProvider
from tests.deploy.certificates import FILES, issued, showing
from tests.deploy.meshes import Mesh, mesh
from tests.e2e.connections import ACTOR, Response, ask
from tests.e2e.identities import ask_securely
from tests.e2e.replaying import CODINGS, NAMES, PLAYS, Stage
from tests.e2e.scripts import Script
from tests.transcripts import Transcript

AGENT = "spiffe://cluster.local/ns/agents/sa/agent"


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory, named: dict[str, object]) -> Iterator[Mesh]:
    """The Envoy of a program's own pod."""
    folder = tmp_path_factory.mktemp("sidecar")
    with mesh(folder, "sidecar", {"providers": [named]}, authorities=str(named["ca_file"])) as started:
        yield started


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, named: dict[str, object]
) -> Iterator[tuple[Mesh, ssl.SSLContext]]:
    """An egress gateway's, and what a program's pod shows it."""
    folder = tmp_path_factory.mktemp("gateway")
    agent = showing(folder, issued(folder), AGENT)
    tls = {name: str(folder / file) for name, file in FILES.items()}
    settings = {"identity": {"source": "mtls"}, "tls": tls, "providers": [named]}
    with mesh(folder, "gateway", settings, authorities=str(named["ca_file"])) as started:
        yield started, agent


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_through_the_program_s_own_envoy(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    coding: str,
    case: str,
    sidecar: Mesh,
    script: Script,
    beyond: ThreadedProvider,
) -> None:
    def asked(body: bytes, path: str, *more: tuple[str, str]) -> Response:
        return ask(sidecar.port, case, body, sidecar.host, *more, path=path)

    Stage(sidecar, beyond, script).replay(case, transcript, streaming=streaming, actor=ACTOR, ask=asked, coding=coding)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_through_the_egress_gateway(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    coding: str,
    case: str,
    gateway: tuple[Mesh, ssl.SSLContext],
    script: Script,
    beyond: ThreadedProvider,
) -> None:
    """Every request says `x-forwarded-user: ada` as well; what counts is the certificate."""
    running, agent = gateway

    def asked(body: bytes, path: str, *more: tuple[str, str]) -> Response:
        return ask_securely(running.port, agent, case, body, running.host, *more, path=path)

    Stage(running, beyond, script).replay(case, transcript, streaming=streaming, actor=AGENT, ask=asked, coding=coding)
