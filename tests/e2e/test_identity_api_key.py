"""Who asks is whose key it is, says Envoy; the sidecar never sees a key, the provider neither."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, COMMAND, ROOT, Bridge, bridge
from tests.e2e.connections import Response, ask
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.forgeries import CLIENT, CLIENTS, REFUSED, UNAUTHORIZED, bearer, keys_like
from tests.e2e.replaying import NAMES, PLAYS, Stage
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually
from tests.transcripts import Transcript

GRACE, ALAN = "aib-grace-0a1b2c3d4e5f", "aib-alan-0a1b2c3d4e5f"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api-key")


@pytest.fixture(scope="module")
def keys(folder: Path) -> Path:
    file = folder / "keys"
    file.write_text(f"# whose\n\n{GRACE} grace hopper\n{ALAN}\talan\n")
    return file


@pytest.fixture(scope="module")
def running(folder: Path, keys: Path, provider: ThreadedProvider) -> Iterator[Bridge]:
    identity = {"source": "api_key", "keys_file": str(keys)}
    with bridge(folder, provider.url, identity=identity) as started:
        yield started
        assert started.stop() == 0


@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_untouched_and_is_recorded_for_the_keys_owner(  # noqa: PLR0913, PLR0917 - fixtures
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    case: str,
    running: Bridge,
    provider: ThreadedProvider,
    script: Script,
) -> None:
    def asked(body: bytes, path: str) -> Response:
        return ask(running.port, case, body, bearer(GRACE), path=path)

    Stage(running, provider, script).replay(case, transcript, streaming=streaming, actor="grace hopper", ask=asked)


def test_the_key_goes_no_further_and_is_nobodys_key(
    case: str, running: Bridge, provider: ThreadedProvider, script: Script
) -> None:
    script[case] = whole(case)
    assert ask(running.port, case, ASKED, bearer(ALAN)).status == 200
    (seen,) = provider.seen[case]
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    assert (ALAN in repr(seen.headers), seen.all(CLIENT)) == (False, [])
    row = running.session(case).interception
    assert (row["initiator_id"], row["credential_kind"]) == ("alan", "centralized")


@pytest.mark.parametrize("spoofs", CLIENTS)
def test_no_header_of_a_client_says_whose_key_it_is(
    spoofs: tuple[tuple[str, str], ...], case: str, running: Bridge, provider: ThreadedProvider, script: Script
) -> None:
    script[case] = whole(case)
    assert ask(running.port, case, ASKED, bearer(ALAN), *spoofs).status == 200
    assert running.session(case).interception["initiator_id"] == "alan"
    assert [name for name, _ in spoofs if provider.seen[case][0].all(name)] == []


@pytest.mark.parametrize("sent", keys_like(GRACE, "grace hopper"))
def test_what_is_no_key_is_refused_by_envoy(
    sent: tuple[tuple[str, str], ...], case: str, running: Bridge, provider: ThreadedProvider
) -> None:
    counted = running.statistic(UNAUTHORIZED)
    response = ask(running.port, case, ASKED, *sent)
    assert (response.status, response.first("content-type"), response.json()) == (401, "application/json", REFUSED)
    assert running.statistic(UNAUTHORIZED) == counted + 1
    assert (provider.seen[case], running.sessions(case)) == ([], [])


def test_keys_are_for_their_owner_and_envoy_alone(running: Bridge) -> None:
    """In one file that others cannot read; in no log, no bootstrap, and not on the output of `envoy-config`."""
    file = running.run / "client-keys.json"
    assert GRACE in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    printed = subprocess.run(
        [*COMMAND, "envoy-config", "--config", running.folder / "aibridge.toml"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    assert str(file).encode() in printed
    holders = [path for path in running.run.iterdir() if path.is_file() and GRACE.encode() in path.read_bytes()]
    assert holders == [file]
    assert GRACE.encode() not in printed + running.log.read_bytes() + running.database.read_bytes()


def test_a_changed_file_counts_within_seconds(case: str, keys: Path, running: Bridge, script: Script) -> None:
    """Nobody need restart Envoy. The old keys come back: other tests need them."""
    script[case] = whole(case)
    kept, fresh = keys.read_text(), bearer("aib-fresh-0a1b2c3d4e5f")
    try:
        keys.write_text(kept.replace(ALAN, fresh[1].split()[1]))
        eventually(lambda: ask(running.port, case, ASKED, fresh).status == 200, "the new key to count")
        assert ask(running.port, case, ASKED, bearer(ALAN)).status == 401
    finally:
        keys.write_text(kept)
    eventually(lambda: ask(running.port, case, ASKED, bearer(ALAN)).status == 200, "the old key to count again")
