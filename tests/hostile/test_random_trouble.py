"""Workers killed and hung, Envoy killed, at random moments under load: what the provider was asked is on record."""

import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.exchanges import pieces, whole
from tests.e2e.processes import command, is_running
from tests.e2e.promises import Kill, assert_kept
from tests.e2e.stores import in_sqlite, sessions
from tests.e2e.traffic import Exchange, Traffic
from tests.e2e.waiting import eventually

SEED = 20_261_125
TIMES = 2  # that each kind of trouble befalls it
WORKERS = 2
APART = 60  # pieces of answers that are read between two troubles, at most
SHORT, LONG = 1.0, 7.0  # seconds that a worker stands still: shorter and longer than Envoy waits for it
REFUSED = {500, 503}  # by Envoy without a verdict, or without a worker that is well
OPEN = "SELECT * FROM interceptions WHERE ended_at IS NULL"


class Trouble:
    """What befalls a bridge's processes. What has come of it is in `kills`: who hangs for long is as good as dead."""

    def __init__(self, running: Bridge, chance: random.Random) -> None:
        self.kills: list[Kill] = []
        self._bridge = running
        self._chance = chance

    def kinds(self) -> dict[str, Callable[[], None]]:
        return {
            "a worker killed": self._killed,
            "a worker hung": partial(self._hung, SHORT),
            "a worker hung for long": partial(self._hung, LONG),
            "Envoy killed": self._envoy,
        }

    def _killed(self) -> None:
        at, pid = time.monotonic(), self._one("sidecar.app")
        end(pid)
        self.kills.append(Kill(at=at, gone=time.monotonic()))

    def _hung(self, seconds: float) -> None:
        pid = self._one("sidecar.app")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                threading.Event().wait(self._chance.uniform(0.5, 1.0) * seconds)
            finally:
                os.kill(pid, signal.SIGCONT)

    def _envoy(self) -> None:
        end(self._one("envoy.yaml"))

    def _one(self, what: str) -> int:
        """One of the children whose command says so; it may be about to start."""
        found = eventually(lambda: [pid for pid in self._bridge.children() if what in command(pid)], what)
        return self._chance.choice(found)


def end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid), "its end")


def assert_told(one: Exchange) -> None:
    """Whole and verbatim, clearly cut, or refused in JSON: a client never takes half of an answer for all of it."""
    if one.status == 200:
        sent = b"".join(pieces(one.name)) if one.streams else whole(one.name).body
        assert one.body == sent if one.is_whole else sent.startswith(one.body), one
    elif one.is_whole:
        assert one.status in REFUSED, one
        assert one.body.startswith(b'{"code":"%d"' % one.status), one
    else:
        assert one.body == b"", one


def test_what_a_client_has_is_whole_or_clearly_cut_and_what_was_asked_is_on_record(
    disk: Path, slow_provider: ThreadedProvider, case: str, request: pytest.FixtureRequest
) -> None:
    """Each kind of trouble twice; in a soak, at other moments each time."""
    seed = secrets.randbelow(2**32) if request.config.getoption("soak") else SEED
    chance = random.Random(seed)  # noqa: S311 - the same troubles for the same seed
    with bridge(disk, slow_provider.url, workers=WORKERS) as running:
        trouble = Trouble(running, chance)
        kinds = trouble.kinds()
        order = [*kinds] * TIMES
        chance.shuffle(order)
        print(f"seed {seed}: {order}")  # noqa: T201 - pytest shows it when the test fails
        with Traffic(running.port, case, clients=6) as traffic:
            for kind in order:
                traffic.flows(chance.randint(1, APART))
                kinds[kind]()
            traffic.flows(APART)
        eventually(lambda: not running.rows(OPEN), "an end of everything")
        eventually(lambda: running.statistic("cluster.sidecar.membership_healthy") == WORKERS, "all workers again")
        assert running.stop() == 0
    for one in traffic.exchanges:
        assert_told(one)
    found = sessions(in_sqlite(disk / "records.db").tables())
    assert_kept(traffic.exchanges, set(slow_provider.seen), found, trouble.kills)
    assert sum(one.is_read for one in traffic.exchanges) > len(order)
