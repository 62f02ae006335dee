"""The journal at its bound while its store is away: what is new is refused, or the oldest is dropped."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge, free_ports
from tests.e2e.connections import Response, ask
from tests.e2e.exchanges import whole
from tests.e2e.scripts import Script
from tests.e2e.services import ReturningService
from tests.e2e.stores import forwarded, in_sqlite, sessions
from tests.e2e.waiting import eventually

BOUND = 1_048_576  # bytes: as little as may be set
LONG = "What keeps the tide? " * 12_000  # a quarter of that
FIT, MANY = 3, 8  # of these: within the bound, and beyond it
DROPPED = re.compile(r"^aibridge_journal_dropped_interceptions_total (\d+)", re.MULTILINE)


@pytest.fixture
def service(disk: Path) -> Iterator[ReturningService]:
    """A store that is away at first."""
    with ReturningService(disk / "service") as running:
        yield running


class Client:
    """One that asks, each time under another name."""

    def __init__(self, running: Bridge, script: Script, case: str) -> None:
        self.answered: dict[str, str] = {}  # prompts by name
        self._running = running
        self._script = script
        self._case = case
        self._asked = 0

    def ask(self, prompt: str = "And the tide?") -> Response:
        """Ask once."""
        name = f"{self._case}-{self._asked}"
        self._asked += 1
        self._script[name] = whole(name)
        body = json.dumps({"model": "aster-2", "input": prompt}).encode()
        response = ask(self._running.port, name, body)
        if response.status == 200:
            self.answered[name] = prompt
        return response


def test_a_full_journal_refuses_what_is_new_until_its_store_is_back(
    service: ReturningService, provider: ThreadedProvider, script: Script, disk: Path, case: str
) -> None:
    """Nothing is lost, and what was refused has not reached the provider."""
    store = in_sqlite(service.database, service.url)
    recorder = store.recorder(disk / "records.db", max_journal_bytes=BOUND)
    with bridge(disk, provider.url, recorder=recorder) as running:
        client = Client(running, script, case)
        statuses = [client.ask(LONG).status for _ in range(MANY)]
        assert statuses[:FIT] == [200] * FIT
        refused = eventually(lambda: (response := client.ask()).status != 200 and response, "a refusal")
        assert (refused.status, refused.first("retry-after")) == (503, "1")
        assert refused.first("content-type") == "application/json"
        assert refused.json() == {"code": "503", "message": "too much to do, try again soon"}
        assert {name for name in provider.seen if name.startswith(case)} == set(client.answered)
        service.start()
        eventually(lambda: client.ask().status == 200, "service again")
        forwarded(running.database)
        assert running.stop() == 0
    found = sessions(store.tables())
    assert {name: one.asked for name, one in found.items()} == {
        name: [(f"resp_{name}", prompt)] for name, prompt in client.answered.items()
    }


def test_a_full_journal_drops_its_oldest_where_that_is_wanted_and_counts_them(
    service: ReturningService, provider: ThreadedProvider, script: Script, disk: Path, case: str
) -> None:
    """Every request is served. What is dropped is in the metric and in the log, and everything else in the store."""
    store, metrics = in_sqlite(service.database, service.url), free_ports()[0]
    recorder = store.recorder(disk / "records.db", max_journal_bytes=BOUND, when_full="drop_oldest")
    with bridge(disk, provider.url, recorder=recorder, telemetry={"metrics": f"127.0.0.1:{metrics}"}) as running:
        client = Client(running, script, case)
        assert [client.ask(LONG).status for _ in range(MANY)] == [200] * MANY
        eventually(lambda: counted(metrics), "a count of what was dropped")
        service.start()
        forwarded(running.database)
        dropped = counted(metrics)
        assert running.stop() == 0
        said = [line for line in running.output.splitlines() if "the oldest interceptions were dropped" in line]
        assert sum(json.loads(line)["interceptions"] for line in said) == dropped
    assert sorted(sessions(store.tables())) == sorted([*client.answered][dropped:])


def counted(metrics: int) -> int:
    """The interceptions that were dropped, as the metric has it."""
    body = ask(metrics, "", method="GET", path="/metrics").body.decode()
    found = DROPPED.search(body)
    return int(float(found[1])) if found else 0
