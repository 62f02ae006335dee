"""In an egress gateway a header is believed from those addresses alone that the settings name."""

from collections.abc import Iterator

import pytest

from examples.provider import ThreadedProvider
from tests.deploy.meshes import Mesh, mesh
from tests.e2e.connections import ACTOR, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.identities import Elsewhere
from tests.e2e.scripts import Script

TRUSTED, OTHER = "127.0.0.1", "127.0.0.9"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, named: dict[str, object]) -> Iterator[Mesh]:
    folder, authorities = tmp_path_factory.mktemp("header"), str(named["ca_file"])
    settings = {"identity": {"trusted_cidrs": [f"{TRUSTED}/32"]}, "providers": [named]}
    with mesh(folder, "gateway", settings, authorities=authorities) as started:
        yield started


def test_a_trusted_pod_is_believed(case: str, running: Mesh, script: Script) -> None:
    script[case] = whole(case)
    assert running.ask(case, ASKED, ("x-forwarded-for", OTHER)).status == 200
    assert running.ending(case).interception["initiator_id"] == ACTOR


@pytest.mark.parametrize("said", [(), (("x-forwarded-for", TRUSTED), ("x-envoy-external-address", TRUSTED))])
def test_another_is_not_whatever_it_says(
    said: tuple[tuple[str, str], ...], case: str, running: Mesh, beyond: ThreadedProvider
) -> None:
    """Istio believes `x-forwarded-for`; our patch has the connection's own address count."""
    with Elsewhere(running.port, OTHER) as connection:
        connection.send(request(case, ASKED, running.host, *said))
        response = connection.response()
    message = "x-forwarded-user is not believed from this address"
    assert (response.status, response.json()) == (400, {"code": "400", "message": message})
    assert (beyond.seen[case], running.sessions(case)) == ([], [])
