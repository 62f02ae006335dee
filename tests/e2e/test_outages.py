"""The store away, slow or cut off, again and again: nothing is lost, nothing doubled, and no request waits for it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.exchanges import streamed, whole
from tests.e2e.forms import Form
from tests.e2e.promises import assert_kept
from tests.e2e.relays import Relay
from tests.e2e.scripts import Script
from tests.e2e.services import ReturningService
from tests.e2e.stores import Store, forwarded, held, in_postgres, in_sqlite, of, sessions, told
from tests.e2e.traffic import Exchange, exchange
from tests.postgres import Postgres, execute

NOISE = 3.0  # times as long as without: who waits for a store waits for seconds, a thousand times as long
AWAY = {"stopped", "killed"}
SAMPLE = 100  # exchanges, at most, that are asked of SQLite too
DELAY = 0.3  # seconds that each piece takes on a slow way
OUR_BACKENDS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'aibridge'"

Outage = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A store, and what may befall it: each lasts as long as its context."""

    store: Store
    outages: dict[str, Outage]


@contextmanager
def away(end: Callable[[], object], start: Callable[[], object]) -> Iterator[None]:
    """Gone, and there again."""
    end()
    try:
        yield
    finally:
        start()


@contextmanager
def slow(relay: Relay) -> Iterator[None]:
    relay.delay = DELAY
    yield
    relay.delay = 0.0


@contextmanager
def cut(relay: Relay) -> Iterator[None]:
    """Every connection, somewhere; the one that is there too."""
    relay.cuts = True
    yield
    relay.cuts = False


@contextmanager
def terminated(url: str) -> Iterator[None]:
    """Every session of ours, as soon as it is seen."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.02):
            execute(url, OUR_BACKENDS)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join()


@contextmanager
def postgresql(server: Postgres) -> Iterator[Trouble]:
    with Relay(server.port) as relay, server.database() as url:
        by = url.replace(f":{server.port}/", f":{relay.port}/")
        outages: dict[str, Outage] = {
            "stopped": lambda: away(server.stop, server.start),
            "killed": lambda: away(server.kill, server.start),
            "slow": lambda: slow(relay),
            "cut": lambda: cut(relay),
            "terminated": lambda: terminated(server.url()),
        }
        yield Trouble(store=in_postgres(url, by), outages=outages)


@contextmanager
def recorder_service(folder: Path) -> Iterator[Trouble]:
    with ReturningService(folder) as service, Relay(service.port) as relay:
        service.start()
        outages: dict[str, Outage] = {
            "stopped": lambda: away(service.stop, service.start),
            "killed": lambda: away(service.kill, service.start),
            "slow": lambda: slow(relay),
            "cut": lambda: cut(relay),
        }
        yield Trouble(store=in_sqlite(service.database, f"grpc://127.0.0.1:{relay.port}"), outages=outages)


@pytest.fixture(params=["postgresql", "service"])
def trouble(request: pytest.FixtureRequest, disk: Path) -> Iterator[Trouble]:
    with ExitStack() as stack:
        if request.param == "postgresql":
            yield stack.enter_context(postgresql(request.getfixturevalue("postgres")))
        else:
            yield stack.enter_context(recorder_service(disk / "service"))


class Client:
    """One that asks one thing after another, and remembers."""

    def __init__(self, port: int, name: str, script: Script) -> None:
        self.exchanges: list[Exchange] = []
        self._port = port
        self._name = name
        self._script = script

    def ask(self, least: int, seconds: float = 0.0) -> list[float]:
        """So many requests at least, and more until so many seconds have passed; returns how long they took."""
        first = len(self.exchanges)
        until = time.monotonic() + seconds
        while len(self.exchanges) < first + least or time.monotonic() < until:
            name, streams = f"{self._name}-{len(self.exchanges)}", len(self.exchanges) % 2 == 0
            self._script[name] = streamed(name) if streams else whole(name)
            self.exchanges.append(exchange(self._port, name, streams=streams))
        return [one.seconds for one in self.exchanges[first:]]


def test_an_outage_loses_nothing_doubles_nothing_and_slows_nobody(  # noqa: PLR0913, PLR0917 - fixtures
    trouble: Trouble, shared: Bridge, provider: ThreadedProvider, script: Script, form: Form, disk: Path, case: str
) -> None:
    """Beyond noise, which a ratio within one run leaves out. The rows are those that SQLite has of the same traffic."""
    calm: list[float] = []
    upset: list[float] = []
    with bridge(disk, provider.url, recorder=trouble.store.recorder(disk / "records.db")) as running:
        client = Client(running.port, case, script)
        client.ask(form.asked)  # who is the first finds everything cold
        for name, outage in trouble.outages.items():
            form.progress(f"{trouble.store.kind} {name}")
            forwarded(running.database)
            calm += client.ask(form.asked)
            with outage():
                upset += client.ask(form.asked, form.outage)
                assert held(running.database) or name not in AWAY
        forwarded(running.database)
        assert running.stop() == 0
    assert [one for one in client.exchanges if not one.is_read] == []
    names = [one.name for one in client.exchanges]
    there = sessions(trouble.store.tables())
    assert_kept(client.exchanges, names, there)
    assert sorted(there) == sorted(names)
    some = client.exchanges[:: 1 + len(names) // SAMPLE]
    for one in some:
        exchange(shared.port, one.name, streams=one.streams)
    here = sessions(of([one.name for one in some], in_sqlite(shared.database).tables()))
    assert {name: told(there[name]) for name in here} == {name: told(one) for name, one in here.items()}
    assert median(upset) < NOISE * median(calm), (median(upset), median(calm))
