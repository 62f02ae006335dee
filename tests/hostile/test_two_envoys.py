"""Two Envoys at one worker's socket: one taking over from the other, or both at once."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from sidecar import bootstrap
from sidecar.settings import load
from tests.conftest import StartBridge
from tests.e2e import recorded
from tests.e2e.bridges import CENTRAL_KEY, STOPPED_WITHIN, Bridge, free_ports, launched, written
from tests.e2e.connections import ask, asking, serves
from tests.e2e.exchanges import ASKED, ASKED_STREAM, FIRST, pieces, streamed, whole
from tests.e2e.promises import assert_kept
from tests.e2e.scripts import Script
from tests.e2e.traffic import ENDLESS, Traffic
from tests.e2e.waiting import eventually
from tests.hostile.envoys import running, second

# Seconds: for requests under way at the old Envoy, and until it ends.
TAKEOVER = ("--drain-time-s", "1", "--parent-shutdown-time-s", "4")


@pytest.fixture
def served(tmp_path: Path, slow_provider: ThreadedProvider) -> Iterator[int]:
    """The port of which the bootstrap in `tmp_path` speaks; workers serve, no Envoy does yet."""
    ports = free_ports()
    provider = {"name": "openai", "base_url": f"{slow_provider.url}/v1", "api_key": CENTRAL_KEY}
    file = written(tmp_path, ports, {"providers": [provider]})
    (tmp_path / "envoy.yaml").write_text(bootstrap.render(load(file)))
    process = launched(tmp_path, file, "serve")
    eventually(lambda: list((tmp_path / "run").glob("*.sock")), "workers")
    yield ports[0]
    process.terminate()
    assert process.wait(STOPPED_WITHIN) == 0


def test_an_envoy_that_takes_over_from_another_costs_nobody_a_byte(
    tmp_path: Path, served: int, slow_provider: ThreadedProvider, case: str
) -> None:
    """Envoy's own hot restart. What the old one has under way ends there; new connections are the new one's."""
    config, base = tmp_path / "envoy.yaml", tmp_path / "base"
    long = f"{ENDLESS}{case}"
    with ExitStack() as envoys:
        old = envoys.enter_context(running(config, "--use-dynamic-base-id", "--base-id-path", str(base), *TAKEOVER))
        eventually(lambda: serves(served), "an Envoy")
        with asking(served, long, ASKED_STREAM) as connection, Traffic(served, case, clients=4) as traffic:
            connection.head()
            connection.until(FIRST)
            traffic.flows(50)
            known = base.read_text().strip()
            envoys.enter_context(running(config, "--base-id", known, "--restart-epoch", "1", *TAKEOVER))
            traffic.flows(200)
            slow_provider.release(long)
            assert connection.rest() == (b"".join(pieces(long)[1:]), True)
            assert old.wait(STOPPED_WITHIN) == 0
            traffic.flows(50)
    assert [one for one in traffic.exchanges if not (one.is_read and one.is_intact)] == []
    found = {name: recorded.sessions(tmp_path / "records.db", name)[0] for name in slow_provider.seen}
    assert_kept(traffic.exchanges, slow_provider.seen, found)
    assert {one.ended for one in found.values()} == {("completed", None, 200)}


def test_two_at_once_both_serve_and_one_that_goes_takes_only_its_own_along(
    start_bridge: StartBridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    first, names = start_bridge(), (f"{case}-1", f"{case}-2")
    for name in names:
        script[name] = streamed(name, hold=1)
    with (
        second(first) as other,
        asking(first.port, names[0], ASKED_STREAM) as stays,
        asking(other.port, names[1], ASKED_STREAM) as goes,
    ):
        for connection in (stays, goes):
            connection.head()
            connection.until(FIRST)
        drained(other)
        assert (first.health(), other.health()) == (200, 503)
        for number, each in enumerate((first, other)):
            assert_serves(each, script, f"{case}-while-{number}")
        other.process.send_signal(signal.SIGTERM)
        assert goes.rest()[1] is False
        assert first.ending(names[1]).ended == ("failed", "disconnected", 200)
        provider.release(names[0])
        assert stays.rest() == (b"".join(pieces(names[0])[1:]), True)
    assert first.session(names[0]).ended == ("completed", None, 200)
    assert_serves(first, script, f"{case}-after")
    assert first.stop() == 0


def drained(bridge: Bridge) -> None:
    """It says that it is not ready; it serves all the same."""
    connection = HTTPConnection("127.0.0.1", bridge.admin)
    connection.request("POST", "/healthcheck/fail")
    assert connection.getresponse().status == 200
    connection.close()


def assert_serves(bridge: Bridge, script: Script, case: str) -> None:
    script[case] = whole(case)
    assert ask(bridge.port, case, ASKED).body == whole(case).body
    assert bridge.session(case).ended == ("completed", None, 200)
