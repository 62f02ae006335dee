"""In an egress gateway who asks is whose key it is; Envoy refuses what is none, by a file that the sidecar wrote."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests.deploy import meshes
from tests.deploy.meshes import Mesh
from tests.e2e.bridges import CENTRAL_KEY
from tests.e2e.connections import Response
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.forgeries import CLIENTS, REFUSED, Pairs, bearer, keys_like
from tests.e2e.replaying import NAMES, PLAYS, Stage
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually
from tests.transcripts import Transcript

GRACE, ALAN = "aib-grace-0a1b2c3d4e5f", "aib-alan-0a1b2c3d4e5f"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def keys(folder: Path) -> Path:
    file = folder / "keys"
    file.write_text(f"{GRACE} grace hopper\n{ALAN} alan\n")
    return file


@pytest.fixture(scope="module")
def running(folder: Path, keys: Path, named: dict[str, object]) -> Iterator[Mesh]:
    """The sidecar is first: in a gateway's pod it is, and Envoy takes no listener whose file is not there."""
    settings = {"identity": {"source": "api_key", "keys_file": str(keys)}, "providers": [named]}
    with meshes.gateway(folder, settings, authorities=str(named["ca_file"])) as started:
        yield started


@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_untouched_and_is_recorded_for_the_keys_owner(  # noqa: PLR0913, PLR0917 - fixtures
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    case: str,
    running: Mesh,
    beyond: ThreadedProvider,
    script: Script,
) -> None:
    def asked(body: bytes, path: str) -> Response:
        return running.ask(case, body, bearer(GRACE), path=path)

    Stage(running, beyond, script).replay(case, transcript, streaming=streaming, actor="grace hopper", ask=asked)


@pytest.mark.parametrize("spoofs", CLIENTS)
def test_no_header_says_otherwise_and_the_key_goes_no_further(
    spoofs: Pairs, case: str, running: Mesh, beyond: ThreadedProvider, script: Script
) -> None:
    script[case] = whole(case)
    assert running.ask(case, ASKED, bearer(ALAN), *spoofs).status == 200
    assert running.ending(case).interception["initiator_id"] == "alan"
    (seen,) = beyond.seen[case]
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    assert [name for name, _ in spoofs if seen.all(name)] == []


@pytest.mark.parametrize("sent", keys_like(GRACE, "grace hopper"))
def test_what_is_no_key_is_refused_by_envoy(sent: Pairs, case: str, running: Mesh, beyond: ThreadedProvider) -> None:
    response = running.ask(case, ASKED, *sent)
    assert (response.status, response.first("content-type"), response.json()) == (401, "application/json", REFUSED)
    assert (beyond.seen[case], running.sessions(case)) == ([], [])


def test_a_changed_file_counts_within_seconds(case: str, keys: Path, running: Mesh, script: Script) -> None:
    """Nobody need restart an Envoy. The old keys come back: other tests need them."""
    script[case] = whole(case)
    kept, fresh = keys.read_text(), "aib-fresh-0a1b2c3d4e5f"
    try:
        keys.write_text(kept.replace(ALAN, fresh))
        eventually(lambda: running.ask(case, ASKED, bearer(fresh)).status == 200, "the new key to count")
        assert running.ask(case, ASKED, bearer(ALAN)).status == 401
    finally:
        keys.write_text(kept)
    eventually(lambda: running.ask(case, ASKED, bearer(ALAN)).status == 200, "the old key to count again")


def test_no_key_is_in_what_the_mesh_is_told(running: Mesh) -> None:
    """Istio shows its configuration to many."""
    assert GRACE not in (running.database.parent / "envoy.yaml").read_text()
