"""Through Istio's listener with our patches who asks is who the token says, and Envoy refuses all others."""

import json
from collections.abc import Iterator

import pytest

from examples.answers import Answer
from examples.provider import Provider, ThreadedProvider
from tests.deploy import meshes
from tests.deploy.meshes import Mesh
from tests.e2e.bridges import CENTRAL_KEY
from tests.e2e.connections import Response
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.forgeries import CLIENTS, REFUSED, TOKENS, Pairs, bearer
from tests.e2e.identities import AUDIENCE, ISSUER, Signer, encoded
from tests.e2e.replaying import NAMES, PLAYS, Stage
from tests.e2e.scripts import Script
from tests.transcripts import Transcript

SECOND = "https://two.example"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def second() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def issuers(
    tmp_path_factory: pytest.TempPathFactory, signer: Signer, second: Signer
) -> Iterator[list[dict[str, object]]]:
    """Two; the second one's keys are fetched."""
    file = tmp_path_factory.mktemp("issuer") / "jwks.json"
    file.write_text(json.dumps(signer.jwks()))
    with ThreadedProvider(Provider(lambda _: Answer(body=json.dumps(second.jwks()).encode()))) as keys:
        yield [
            {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(file)},
            {"issuer": SECOND, "audiences": [AUDIENCE], "jwks_url": f"{keys.url}/keys"},
        ]


@pytest.fixture(scope="module", params=["sidecar", "gateway"])
def running(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    named: dict[str, object],
    issuers: list[dict[str, object]],
) -> Iterator[Mesh]:
    folder, authorities = tmp_path_factory.mktemp(request.param), str(named["ca_file"])
    settings = {"identity": {"source": "jwt"}, "issuers": issuers, "providers": [named]}
    started = (
        meshes.gateway(folder, settings, authorities=authorities)
        if request.param == "gateway"
        else meshes.mesh(folder, "sidecar", settings, authorities=authorities)
    )
    with started as ready:
        yield ready


@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_untouched_and_is_recorded_for_the_subject(  # noqa: PLR0913, PLR0917 - fixtures
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    case: str,
    running: Mesh,
    signer: Signer,
    beyond: ThreadedProvider,
    script: Script,
) -> None:
    def asked(body: bytes, path: str) -> Response:
        return running.ask(case, body, bearer(signer.token()), path=path)

    Stage(running, beyond, script).replay(case, transcript, streaming=streaming, actor="grace", ask=asked)


@pytest.mark.parametrize("spoofs", CLIENTS)
def test_no_header_says_otherwise_and_the_token_goes_no_further(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    spoofs: Pairs, case: str, running: Mesh, signer: Signer, beyond: ThreadedProvider, script: Script
) -> None:
    script[case] = whole(case)
    claims = ("x-jwt-payload", encoded(json.dumps({"sub": "root"}).encode()))
    assert running.ask(case, ASKED, bearer(signer.token()), claims, *spoofs).status == 200
    row = running.ending(case).interception
    assert (row["initiator_id"], row["credential_kind"]) == ("grace", "centralized")
    (seen,) = beyond.seen[case]
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    assert [name for name, _ in spoofs if seen.all(name)] == []


def test_each_issuer_signs_for_itself_alone(
    case: str, running: Mesh, signer: Signer, second: Signer, script: Script
) -> None:
    script[case] = whole(case)
    assert running.ask(case, ASKED, bearer(signer.token(iss=SECOND))).status == 401
    assert running.ask(case, ASKED, bearer(second.token(iss=SECOND, sub="alan"))).status == 200
    assert running.ending(case).interception["initiator_id"] == "alan"


@pytest.mark.parametrize("wrong", TOKENS)
def test_what_is_forged_is_refused_by_envoy(
    wrong: str, case: str, running: Mesh, signer: Signer, beyond: ThreadedProvider
) -> None:
    response = running.ask(case, ASKED, *TOKENS[wrong](signer))
    assert (response.status, response.first("content-type"), response.json()) == (401, "application/json", REFUSED)
    assert (beyond.seen[case], running.sessions(case)) == ([], [])
