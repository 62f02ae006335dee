"""Workers, Envoy, the keeper and the parent killed under load: what a client has read to its end is on record, once."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import asking
from tests.e2e.exchanges import ASKED_STREAM
from tests.e2e.forms import Form
from tests.e2e.processes import command, is_running
from tests.e2e.promises import Kill, assert_kept
from tests.e2e.stores import Store, forwarded, sessions
from tests.e2e.traffic import ENDLESS, Traffic
from tests.e2e.waiting import eventually

SEED = 20_261_125
WORKERS = 2
APART = 150  # pieces of answers that are read between two kills, at most
OPEN = "SELECT * FROM interceptions WHERE ended_at IS NULL"


class Crashes:
    """A bridge that is killed, in part or as a whole, and started again in the same place."""

    def __init__(self, start: Callable[..., Bridge]) -> None:
        self._start = start
        self.bridge = start()
        self.kills: list[Kill] = []  # of workers

    def victims(self, *, forwards: bool) -> dict[str, Callable[[random.Random], None]]:
        """How to kill whom, and have it there again."""
        some = {"worker": self._worker, "Envoy": self._envoy, "parent": self._parent}
        return some | ({"keeper": self._keeper} if forwards else {})

    def everything(self) -> None:
        """As a power cut does: nobody is left to hear of another's end."""
        parent = self.bridge.process.pid
        os.kill(parent, signal.SIGSTOP)
        self.kills.append(killed([*self.bridge.children(), parent]))

    def again(self) -> None:
        """Start it in its old place."""
        self.bridge.process.wait()
        self.bridge = self._start(ports=(self.bridge.port, self.bridge.admin))

    def _worker(self, chance: random.Random) -> None:
        workers = eventually(lambda: serving(self.bridge, "sidecar.app"), "a worker")
        self.kills.append(killed([chance.choice(workers)]))

    def _envoy(self, _: random.Random) -> None:
        killed(eventually(lambda: serving(self.bridge, "envoy.yaml"), "an Envoy"))

    def _keeper(self, _: random.Random) -> None:
        killed(eventually(lambda: serving(self.bridge, "sidecar.keeper"), "a keeper"))

    def _parent(self, _: random.Random) -> None:
        killed([self.bridge.process.pid])
        self.again()


def serving(bridge: Bridge, what: str) -> list[int]:
    """Its children whose command says `what`, which may be about to start."""
    return [pid for pid in bridge.children() if what in command(pid)]


def killed(pids: list[int]) -> Kill:
    """When they were, and were gone."""
    at = time.monotonic()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(map(is_running, pids)), "their end")
    return Kill(at=at, gone=time.monotonic())


def plan(chance: random.Random, victims: list[str], moments: int) -> list[str]:
    """Who is killed when: everybody once at least."""
    whom = [*victims, *chance.choices(victims, k=moments - len(victims))]
    chance.shuffle(whom)
    return whom


def test_what_was_read_to_its_end_is_on_record_once_whatever_is_killed_whenever(
    store: Store, disk: Path, slow_provider: ThreadedProvider, form: Form, case: str
) -> None:
    """And what the provider was asked is on record with its prompt; nothing is left open, and the journal is sound."""
    chance = random.Random(SEED)  # noqa: S311 - the same kills in every run
    recorder = store.recorder(disk / "records.db")
    with ExitStack() as stack:
        start = partial(bridge, disk, slow_provider.url, workers=WORKERS, recorder=recorder)
        crashes = Crashes(lambda **more: stack.enter_context(start(**more)))
        victims = crashes.victims(forwards=store.is_elsewhere)
        stack.callback(lambda: sys.stdout.write(crashes.bridge.output[-20_000:]))  # shown where the test fails
        long = stack.enter_context(asking(crashes.bridge.port, f"{ENDLESS}{case}", ASKED_STREAM))
        long.head()
        eventually(lambda: store.tables()["interceptions"], "what is open, shown to the store too")
        with Traffic(crashes.bridge.port, case) as traffic:
            for moment, whom in enumerate(plan(chance, list(victims), form.moments), 1):
                traffic.flows(chance.randint(1, APART))
                form.progress(f"{store.kind}: kill {moment} of {form.moments}, {whom}")
                victims[whom](chance)
            traffic.flows(APART)
            crashes.everything()
        crashes.again()
        assert crashes.bridge.rows(OPEN) == []
        assert crashes.bridge.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
        if store.is_elsewhere:
            forwarded(crashes.bridge.database)
        assert crashes.bridge.stop() == 0
    assert_kept(traffic.exchanges, set(slow_provider.seen), sessions(store.tables()), crashes.kills)
    assert sum(one.is_read for one in traffic.exchanges) > form.moments
