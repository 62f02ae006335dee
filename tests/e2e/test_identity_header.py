"""A header is believed from those addresses alone whose owners are trusted to have looked; from others nothing is."""

from collections.abc import Iterator

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import ACTOR, ask, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.identities import Elsewhere
from tests.e2e.scripts import Script

TRUSTED, OTHER = "127.0.0.1", "127.0.0.9"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    identity = {"trusted_cidrs": [f"{TRUSTED}/32", "fd00::/8"], "default_actor": "somebody"}
    with bridge(tmp_path_factory.mktemp("header"), provider.url, identity=identity) as started:
        yield started


def test_a_trusted_address_is_believed(case: str, running: Bridge, script: Script) -> None:
    script[case] = whole(case)
    assert ask(running.port, case, ASKED, ("x-forwarded-for", OTHER)).status == 200
    assert running.session(case).interception["initiator_id"] == ACTOR


@pytest.mark.parametrize(
    "said",
    [
        (),
        (("x-forwarded-for", TRUSTED),),
        (("x-real-ip", TRUSTED), ("forwarded", f"for={TRUSTED}"), ("x-envoy-external-address", TRUSTED)),
    ],
)
@pytest.mark.parametrize("actor", ["ada", None])
def test_another_is_not_whatever_it_says(
    said: tuple[tuple[str, str], ...], actor: str | None, case: str, running: Bridge, provider: ThreadedProvider
) -> None:
    """Its peer's address counts, not what a header says of that; nor does the default stand in for it."""
    raw = request(case, ASKED, *said)
    with Elsewhere(running.port, OTHER) as connection:
        connection.send(raw if actor else raw.replace(b"x-forwarded-user: ada\r\n", b""))
        response = connection.response()
    message = "x-forwarded-user is not believed from this address"
    assert (response.status, response.json()) == (400, {"code": "400", "message": message})
    assert (provider.seen[case], running.sessions(case)) == ([], [])
