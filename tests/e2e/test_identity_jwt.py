"""Who asks is who the token says, whatever a header says; Envoy refuses all others."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.answers import Answer
from examples.provider import Provider, ThreadedProvider
from tests.conftest import StartBridge
from tests.e2e.bridges import CENTRAL_KEY, Bridge, bridge
from tests.e2e.connections import Response, ask
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.forgeries import DENIED, REFUSED, TOKENS, bearer
from tests.e2e.identities import AUDIENCE, ISSUER, Signer, encoded
from tests.e2e.replaying import NAMES, PLAYS, Stage
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually
from tests.transcripts import Transcript


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def issuer(signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    file = tmp_path_factory.mktemp("issuer") / "jwks.json"
    file.write_text(json.dumps(signer.jwks()))
    return {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(file)}


@pytest.fixture(scope="module")
def running(
    issuer: dict[str, object], tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider
) -> Iterator[Bridge]:
    identity = {"source": "jwt", "metadata_claims": ["email", "groups", "level"]}
    with bridge(tmp_path_factory.mktemp("jwt"), provider.url, identity=identity, issuers=[issuer]) as started:
        yield started
        assert started.stop() == 0


@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_untouched_and_is_recorded_for_the_subject(  # noqa: PLR0913, PLR0917 - fixtures
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    case: str,
    running: Bridge,
    signer: Signer,
    provider: ThreadedProvider,
    script: Script,
) -> None:
    """Every request says `x-forwarded-user: ada` as well."""

    def asked(body: bytes, path: str) -> Response:
        return ask(running.port, case, body, bearer(signer.token()), path=path)

    Stage(running, provider, script).replay(case, transcript, streaming=streaming, actor="grace", ask=asked)


def test_the_token_goes_no_further_and_is_nobodys_key(
    case: str, running: Bridge, signer: Signer, provider: ThreadedProvider, script: Script
) -> None:
    script[case] = whole(case)
    token = signer.token(email="g@navy.example", groups=["a", "b"], level=7)
    assert ask(running.port, case, ASKED, bearer(token)).status == 200
    (seen,) = provider.seen[case]
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    assert token not in repr(seen.headers)
    signature = token.rpartition(".")[2]
    kept = (path.read_bytes() for path in running.folder.rglob("*") if path.is_file())
    assert not any(signature.encode() in data for data in kept)
    row = running.session(case).interception
    assert row["credential_kind"] == "centralized"
    assert json.loads(row["actor_metadata"]) == {"email": "g@navy.example", "groups": '["a","b"]', "level": "7"}


@pytest.mark.parametrize("wrong", TOKENS)
def test_what_is_forged_is_refused_by_envoy(
    wrong: str, case: str, running: Bridge, signer: Signer, provider: ThreadedProvider
) -> None:
    denied = running.statistic(DENIED)
    response = ask(running.port, case, ASKED, *TOKENS[wrong](signer))
    assert (response.status, response.first("content-type"), response.json()) == (401, "application/json", REFUSED)
    assert running.statistic(DENIED) > denied
    assert provider.seen[case] == []
    assert running.sessions(case) == []


@pytest.mark.parametrize("subject", [None, "", " ", 17, ["grace"], {"a": "grace"}])
def test_a_token_that_names_nobody_is_refused(subject: object, case: str, running: Bridge, signer: Signer) -> None:
    """A number is not one: Envoy hands it on as a float, and two people could share that."""
    response = ask(running.port, case, ASKED, bearer(signer.token(sub=subject)))
    assert response.status in {400, 401}
    assert running.sessions(case) == []


def test_claims_that_a_client_writes_are_ignored(case: str, running: Bridge, signer: Signer, script: Script) -> None:
    """None of the names under which filters and proxies hand claims on."""
    script[case] = whole(case)
    claims = encoded(json.dumps({"sub": "root"}).encode())
    more = (("x-jwt-payload", claims), ("sub", "root"), ("x-forwarded-user", "root"), ("x_forwarded_user", "root"))
    assert ask(running.port, case, ASKED, bearer(signer.token()), *more).status == 200
    assert running.session(case).interception["initiator_id"] == "grace"


def test_what_needs_no_actor_needs_no_token(case: str, running: Bridge) -> None:
    assert ask(running.port, case, method="GET", path="/healthz").status == 200
    assert ask(running.port, case, method="GET", path="/nowhere").status == 404
    upgrade = (("connection", "upgrade"), ("upgrade", "websocket"))
    assert ask(running.port, case, b"", *upgrade, method="GET").status == 426


def test_in_a_header_of_its_own_it_leaves_the_clients_key_alone(
    case: str, tmp_path: Path, start_bridge: StartBridge, provider: ThreadedProvider, script: Script
) -> None:
    """Two issuers; the second one's keys are fetched. Another claim names the actor."""
    first, second = Signer(), Signer()
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(first.jwks()))
    with ThreadedProvider(Provider(lambda _: Answer(body=json.dumps(second.jwks()).encode()))) as keys:
        issuers = [
            {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(file)},
            {"issuer": "https://two.example", "audiences": [AUDIENCE], "jwks_url": f"{keys.url}/keys"},
        ]
        identity = {"source": "jwt", "token_header": "x-identity", "claim": "email"}
        running = start_bridge(identity=identity, issuers=issuers)
        script[case] = whole(case)
        token = second.token(iss="https://two.example", email="g@navy.example")
        own = ("authorization", "Bearer sk-own-0123456789abcdef")
        crossed = first.token(iss="https://two.example")
        assert ask(running.port, case, ASKED, ("x-identity", crossed), own).status == 401
        assert ask(running.port, case, ASKED, ("x-identity", token), own).status == 200
    (seen,) = provider.seen[case]
    assert (seen.all("authorization"), seen.all("x-identity")) == ([own[1]], [])
    row = running.session(case).interception
    assert (row["initiator_id"], row["credential_kind"]) == ("g@navy.example", "byok")


def test_whose_issuer_cannot_be_asked_has_no_wrong_token(
    start_bridge: StartBridge, case: str, signer: Signer, script: Script
) -> None:
    """SDKs try again after a 503, and never after a 401. Once the issuer answers, so does the bridge."""
    script[case] = whole(case)
    answers = [Answer(status=500)]
    with ThreadedProvider(Provider(lambda _: answers[-1])) as keys:
        remote = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_url": f"{keys.url}/keys"}
        running = start_bridge(identity={"source": "jwt"}, issuers=[remote])
        refused = ask(running.port, case, ASKED, bearer(signer.token()))
        told = {"code": "503", "message": "the keys of who issues tokens could not be fetched"}
        assert (refused.status, refused.json(), refused.first("www-authenticate")) == (503, told, "Bearer")
        answers.append(Answer(body=json.dumps(signer.jwks()).encode()))
        eventually(lambda: ask(running.port, case, ASKED, bearer(signer.token())).status == 200, "its keys")


def test_a_new_key_set_in_the_file_counts_without_a_restart(
    case: str, tmp_path: Path, start_bridge: StartBridge, script: Script
) -> None:
    """And one that is none changes nothing."""
    script[case] = whole(case)
    before, after, file = Signer(), Signer(), tmp_path / "jwks.json"
    file.write_text(json.dumps(before.jwks()))
    local = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(file)}
    bridge = start_bridge(identity={"source": "jwt"}, issuers=[local])
    file.write_text('{"keys": []}')
    eventually(lambda: "cannot be used" in bridge.output, "a warning")
    assert ask(bridge.port, case, ASKED, bearer(before.token())).status == 200
    file.write_text(json.dumps(after.jwks()))
    eventually(lambda: ask(bridge.port, case, ASKED, bearer(after.token())).status == 200, "the new key")
    assert ask(bridge.port, case, ASKED, bearer(before.token())).status == 401
