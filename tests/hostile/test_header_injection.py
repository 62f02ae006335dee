"""Line ends, NUL and what looks like a header in names of actors, models and sessions: no header is made of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, Bridge, bridge
from tests.e2e.connections import Connection, ask, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.identities import AUDIENCE, ISSUER, Signer
from tests.e2e.scripts import Script
from tests.hostile.evil import EVIL

FORGED = "x-forged"
BREAKS = {
    "a line end": b"\r\n",
    "a line feed": b"\n",
    "a carriage return": b"\r",
    "a NUL": b"\0",
    "an escape": b"\x1b",
    "a delete": b"\x7f",
    "Latin-1": b"\xe9\x85",
    "UTF-8's line end": "\u2028".encode(),
    "an overlong line end": b"\xc0\x8a\xe0\x80\x8d",
    "percent signs": b"%0d%0a",
}
ENDS = ("a line end", "a line feed")  # what Envoy may take for the end of a line
FIELDS = ["x-forwarded-user", "authorization", "x-request-id", "session_id", "user-agent"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", BREAKS)
def test_no_header_that_a_client_breaks_becomes_two_for_the_provider(  # noqa: PLR0913, PLR0917 - fixtures
    attack: Bridge, provider: ThreadedProvider, script: Script, case: str, kind: str, field: str
) -> None:
    """What is a line end to Envoy begins a header of the client's own, which it might have sent as well."""
    script[case] = whole(case)
    head, _, rest = request(case, ASKED, (field, "Bearer PLACE")).partition(b"PLACE")
    with Connection(attack.port) as connection:
        connection.send(head + b"a" + BREAKS[kind] + b"x-forged: 1" + rest)
        try:
            status = connection.response().status
        except (EOFError, ConnectionError):
            status = 0
    seen = provider.seen.get(case, [])
    assert (status == 200) is bool(seen)
    assert status in {0, 200, 400}
    for one in seen:
        assert len(one.all(FORGED)) <= (kind in ENDS)
        assert len(one.all("authorization")) == len(one.all("x-case")) == 1
        assert field == "authorization" or one.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
        (actor,) = one.all("x-ai-bridge-actor-id")
        assert actor.isascii()
        assert actor.isprintable()


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def trusting(signer: Signer, tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    """It passes a token's claims on as the actor's metadata, whatever they are."""
    folder = tmp_path_factory.mktemp("trusting")
    with bridge(
        folder,
        provider.url,
        providers=[
            {"name": "openai", "base_url": f"{provider.url}/v1", "api_key": CENTRAL_KEY, "send_actor_headers": True}
        ],
        identity={"source": "jwt", "metadata_claims": ["team", "Team: x"]},
        issuers=[{"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(key_set(folder, signer))}],
    ) as running:
        yield running
        assert running.stop() == 0


def key_set(folder: Path, signer: Signer) -> Path:
    file = folder / "jwks.json"
    file.write_text(json.dumps(signer.jwks()))
    return file


@pytest.mark.parametrize("kind", EVIL)
def test_whatever_a_token_says_of_its_actor_is_one_header_each(  # noqa: PLR0913, PLR0917 - fixtures
    trusting: Bridge, signer: Signer, provider: ThreadedProvider, script: Script, case: str, kind: str
) -> None:
    script[case] = whole(case)
    said = EVIL[kind][:500] + "\r\nx-forged: 1\r\n\r\n"
    token = signer.token(sub=said, team=said, **{"Team: x": said})
    assert ask(trusting.port, case, ASKED, ("authorization", f"Bearer {token}")).status == 200
    (seen,) = provider.seen[case]
    assert seen.all(FORGED) == []
    ours = {name: value for name, value in seen.headers if name.startswith("x-ai-bridge-actor")}
    assert sorted(ours) == [f"x-ai-bridge-actor-{name}" for name in ("id", "metadata-team", "metadata-team--x")]
    expected = said.replace("\0", "\ufffd").strip()
    assert {unquote(value) for value in ours.values()} == {expected}
    (recorded,) = trusting.sessions(case)
    assert recorded.interception["initiator_id"] == expected
    assert recorded.ended == ("completed", None, 200)
