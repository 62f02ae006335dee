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


@pytest.fixture(scope="module", params=["sidecar", "gateway"])
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, named: dict[str, object]
) -> Iterator[tuple[Mesh, str]]:
    """The Envoy of a program's own pod, or an egress gateway's, and who asks it.

    Every request says `x-forwarded-user: ada`; what counts in a gateway is the certificate.
    """
    folder, authorities = tmp_path_factory.mktemp(request.param), str(named["ca_file"])
    if request.param == "sidecar":
        with meshes.mesh(folder, "sidecar", {"providers": [named]}, authorities=authorities) as started:
            yield started, ACTOR
    else:
        settings = {"identity": {"source": "mtls"}, "providers": [named]}
        with meshes.gateway(folder, settings, authorities=authorities) as started:
            yield started, AGENT


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_through_the_patched_listener(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    coding: str,
    case: str,
    played: tuple[Mesh, str],
    script: Script,
    beyond: ThreadedProvider,
) -> None:
    mesh, actor = played

    def asked(body: bytes, path: str, *more: tuple[str, str]) -> Response:
        return mesh.ask(case, body, *more, path=path)

    Stage(mesh, beyond, script).replay(case, transcript, streaming=streaming, actor=actor, ask=asked, coding=coding)
