"""Two bridges of two workers each, started at once on an empty store that they share: nothing lost, nothing doubled."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.forms import Form
from tests.e2e.promises import assert_kept
from tests.e2e.stores import Store, forwarded, sessions
from tests.e2e.traffic import Traffic
from tests.e2e.waiting import eventually

BRIDGES, WORKERS = 2, 2
HEALTHY = "cluster.sidecar.membership_healthy"


@pytest.fixture
def bridges(store: Store, disk: Path, slow_provider: ThreadedProvider) -> Iterator[list[Bridge]]:
    with ExitStack() as stack:

        def start(number: int) -> Bridge:
            folder = disk / str(number)
            folder.mkdir()
            recorder = store.recorder(folder / "records.db")
            return stack.enter_context(bridge(folder, slow_provider.url, workers=WORKERS, recorder=recorder))

        with ThreadPoolExecutor(BRIDGES) as pool:
            running = list(pool.map(start, range(BRIDGES)))
        for one in running:
            eventually(lambda one=one: one.statistic(HEALTHY) == WORKERS, "workers that get requests")
        yield running


def test_two_bridges_with_two_workers_each_share_one_store(
    store: Store, bridges: list[Bridge], slow_provider: ThreadedProvider, form: Form, case: str
) -> None:
    form.progress(f"{store.kind}: two bridges")
    with ExitStack() as stack:
        traffics = [stack.enter_context(Traffic(one.port, f"{case}-{number}")) for number, one in enumerate(bridges)]
        for traffic in traffics:
            traffic.flows(form.pieces)
    for one in bridges:
        if store.is_elsewhere:
            forwarded(one.database)
        assert one.stop() == 0
    exchanges = list(chain.from_iterable(traffic.exchanges for traffic in traffics))
    assert [one for one in exchanges if not one.is_read] == []
    found = sessions(store.tables())
    assert sorted(found) == sorted(one.name for one in exchanges)
    assert_kept(exchanges, set(slow_provider.seen), found)
    assert len({one.interception["worker"] for one in found.values()}) == BRIDGES * WORKERS
