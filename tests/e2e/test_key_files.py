"""A provider's key in a file changes without a restart, and no stream is lost."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import STOPPED_WITHIN, Bridge, bridge, free_ports, launched, written
from tests.e2e.connections import ask, asking
from tests.e2e.exchanges import ASKED, ASKED_STREAM, FIRST, pieces, streamed, whole
from tests.e2e.scripts import Script
from tests.e2e.secrets import Mounted
from tests.e2e.waiting import eventually

OLD, NEW, NEWER = (f"sk-canary-{name}-0a1b2c3d4e5f6071" for name in ("old", "new", "newer"))


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "secret", key=f"{OLD}\n")


@pytest.fixture(params=["sidecar", "envoy"])
def running(
    request: pytest.FixtureRequest, tmp_path: Path, mounted: Mounted, provider: ThreadedProvider
) -> Iterator[Bridge]:
    provided = [{"name": "openai", "base_url": f"{provider.url}/v1", "api_key_file": str(mounted / "key")}]
    how = {"inject_by": request.param}
    with bridge(tmp_path, provider.url, providers=provided, workers=2, credentials=how) as started:
        yield started
        assert started.stop() == 0
        assert not [text for text in (OLD, NEW, NEWER) if text in started.output]


def used(running: Bridge, provider: ThreadedProvider, case: str) -> tuple[str, str]:
    """The key that a request is sent with now, and the hint that is recorded of it."""
    assert ask(running.port, case, ASKED).status == 200
    hint = running.sessions(case)[-1].interception["credential_hint"]
    return provider.seen[case][-1].all("authorization")[-1].removeprefix("Bearer "), hint


def comes(key: str, running: Bridge, provider: ThreadedProvider, case: str) -> None:
    """Both workers have it: a request goes to the one that has fewer, so to any."""
    wanted, since = (key, f"{key[:4]}...{key[-4:]}"), 0

    def settled() -> bool:
        nonlocal since
        since = since + 1 if used(running, provider, case) == wanted else 0
        return since == 8  # more than there are workers

    eventually(settled, "the new key")


def test_a_secret_that_is_swapped_counts_for_what_comes_later_and_cuts_nothing(
    running: Bridge, mounted: Mounted, provider: ThreadedProvider, script: Script, case: str
) -> None:
    script[case] = [streamed(case, hold=1), whole(case)]
    before = running.children()
    with asking(running.port, case, ASKED_STREAM) as connection:
        assert connection.head().status == 200
        first = connection.until(FIRST)
        mounted.put(key=NEW)
        comes(NEW, running, provider, case)
        provider.release(case)
        assert first + connection.rest()[0] == b"".join(pieces(case))
    assert provider.seen[case][0].all("authorization") == [f"Bearer {OLD}"]
    assert running.children() == before


@pytest.mark.parametrize("running", ["sidecar"], indirect=True)
def test_a_file_written_in_place_counts_as_well(
    running: Bridge, mounted: Mounted, provider: ThreadedProvider, script: Script, case: str
) -> None:
    script[case] = whole(case)
    (mounted / "key").write_text(NEW)
    comes(NEW, running, provider, case)


@pytest.mark.parametrize("trouble", ["missing", "empty", "unreadable", "no text"])
@pytest.mark.parametrize("running", ["envoy"], indirect=True)
def test_what_is_no_key_leaves_the_old_one_and_is_told_once(  # noqa: PLR0913, PLR0917 - fixtures
    trouble: str, running: Bridge, mounted: Mounted, provider: ThreadedProvider, script: Script, case: str
) -> None:
    script[case] = whole(case)
    spoil(mounted, trouble)
    eventually(running.complaints, "a warning")
    assert used(running, provider, case)[0] == OLD
    mounted.put(key=NEW)
    comes(NEW, running, provider, case)
    (line,) = running.complaints()
    assert "providers[0].api_key_file" in line


@pytest.mark.parametrize("running", ["envoy"], indirect=True)
def test_an_envoy_that_comes_later_has_the_new_key(
    running: Bridge, mounted: Mounted, provider: ThreadedProvider, script: Script, case: str
) -> None:
    script[case] = whole(case)
    mounted.put(key=NEW)
    comes(NEW, running, provider, case)
    os.kill(running.envoy(), signal.SIGKILL)
    eventually(lambda: running.health() == 200, "another Envoy")
    assert used(running, provider, case)[0] == NEW


def test_an_envoy_of_one_s_own_finds_its_files_while_nobody_serves(tmp_path: Path, nobody: str) -> None:
    """It may start at any time; only an Envoy of ours is gone when we are."""
    provided = [{"name": "openai", "base_url": f"{nobody}/v1", "api_key": OLD}]
    file = written(tmp_path, free_ports(), {"credentials": {"inject_by": "envoy"}, "providers": provided})
    key, process = tmp_path / "run/secrets/provider-openai.key", launched(tmp_path, file, "serve")
    try:
        eventually((tmp_path / "run/worker-0.sock").exists, "a worker")
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOPPED_WITHIN) == 0
    finally:
        process.kill()
        process.wait()
    assert key.read_text() == f"Bearer {OLD}"


def spoil(mounted: Mounted, trouble: str) -> None:
    match trouble:
        case "missing":
            mounted.put()
        case "empty":
            mounted.put(key="\n")
        case "no text":
            mounted.put(key="\0")
        case "unreadable":  # by whomever, root included
            mounted.put(key="")
            path = (mounted / "key").resolve()
            path.unlink()
            path.symlink_to(path.name)


@pytest.mark.parametrize("running", ["sidecar"], indirect=True)
def test_a_worker_that_comes_later_has_the_last_good_key(
    running: Bridge, mounted: Mounted, provider: ThreadedProvider, script: Script, case: str
) -> None:
    """Not the one that was there when the bridge began."""
    script[case] = whole(case)
    mounted.put(key=NEW)
    comes(NEW, running, provider, case)
    eventually(lambda: "changed, and in use" in running.output, "the parent to have it")
    mounted.put()
    eventually(running.complaints, "a warning")
    workers = running.workers()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(running.workers()) == 2 and not set(running.workers()) & set(workers), "workers")
    # Of either: a request goes to any that Envoy has not yet found to be gone.
    eventually(lambda: all(ask(running.port, case, ASKED).status == 200 for _ in range(10)), "ten answers in a row")
    comes(NEW, running, provider, case)
