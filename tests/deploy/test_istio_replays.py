"""Every situation through Istio's listener with our patches: what passes and what is recorded is as it is elsewhere."""

from collections.abc import Iterator

import pytest

from examples.provider import ThreadedProvider
from tests.deploy import meshes
from tests.deploy.meshes import AGENT, Mesh
from tests.e2e.connections import ACTOR, Response
from tests.e2e.replaying import CODINGS, NAMES, PLAYS, Stage
from tests.e2e.scripts import Script
from tests.transcripts import Transcript


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory, named: dict[str, object]) -> Iterator[Mesh]:
    """The Envoy of a program's own pod."""
    folder, authorities = tmp_path_factory.mktemp("sidecar"), str(named["ca_file"])
    with meshes.mesh(folder, "sidecar", {"providers": [named]}, authorities=authorities) as started:
        yield started


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, named: dict[str, object]) -> Iterator[Mesh]:
    """An egress gateway's."""
    folder, authorities = tmp_path_factory.mktemp("gateway"), str(named["ca_file"])
    settings = {"identity": {"source": "mtls"}, "providers": [named]}
    with meshes.gateway(folder, settings, authorities=authorities) as started:
        yield started


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
        return sidecar.ask(case, body, *more, path=path)

    Stage(sidecar, beyond, script).replay(case, transcript, streaming=streaming, actor=ACTOR, ask=asked, coding=coding)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_through_the_egress_gateway(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    coding: str,
    case: str,
    gateway: Mesh,
    script: Script,
    beyond: ThreadedProvider,
) -> None:
    """Every request says `x-forwarded-user: ada` as well; what counts is the certificate."""

    def asked(body: bytes, path: str, *more: tuple[str, str]) -> Response:
        return gateway.ask(case, body, *more, path=path)

    Stage(gateway, beyond, script).replay(case, transcript, streaming=streaming, actor=AGENT, ask=asked, coding=coding)
