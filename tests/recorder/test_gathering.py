"""Batches of many clients in few transactions, each told what became of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from sidecar.recorder.batches import Batch, StoreUnavailable
from sidecar.recorder.service import contract
from sidecar.recorder.service.gathering import Gathering, Records
from tests.e2e.waiting import PATIENCE
from tests.recorder.contract_samples import whole


class Listed:
    """A store that keeps a list of transactions, and waits at each until it is let go."""

    def __init__(self, *outcomes: frozenset[str] | Exception, held: bool = False) -> None:
        self.transactions: list[frozenset[str]] = []
        self.closed = False
        self.entered, self.released = threading.Semaphore(0), threading.Event()
        self._outcomes = list(outcomes)
        if not held:
            self.released.set()

    def put(self, batch: Batch) -> frozenset[str]:
        self.entered.release()
        assert self.released.wait(PATIENCE)
        self.transactions.append(batch.ids())
        outcome = self._outcomes.pop(0) if self._outcomes else frozenset[str]()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def gathering(store: Listed) -> AsyncIterator[Gathering]:
    gathered = Gathering(store)
    yield gathered
    store.released.set()
    assert gathered.close(PATIENCE)
    assert store.closed


def sent(*interceptions: str) -> Records:
    return [record for one in interceptions for record in contract.records(whole(one))]


def ids(*interceptions: str) -> frozenset[str]:
    return frozenset(id_ for one in interceptions for id_ in whole(one).ids())


async def begun(gathered: Gathering, store: Listed, batches: Sequence[Records]) -> list[asyncio.Task[frozenset[str]]]:
    """The first is on its way, the others wait behind it."""
    tasks = [asyncio.create_task(gathered.put(batches[0]))]
    await asyncio.to_thread(store.entered.acquire, timeout=PATIENCE)
    tasks += [asyncio.create_task(gathered.put(one)) for one in batches[1:]]
    await asyncio.sleep(0)  # each runs to where it waits
    assert gathered.batches == len(batches)
    return tasks


async def test_what_waits_is_stored_in_one_transaction() -> None:
    store = Listed(held=True)
    async with gathering(store) as gathered:
        tasks = await begun(gathered, store, [sent("i-1"), sent("i-2"), sent("i-3", "i-4")])
        store.released.set()
        await asyncio.gather(*tasks)
    assert store.transactions == [ids("i-1"), ids("i-2", "i-3", "i-4")]


async def test_the_same_interception_from_two_is_one_row() -> None:
    """PostgreSQL refuses a statement that touches a row twice."""
    store = Listed(held=True)
    async with gathering(store) as gathered:
        tasks = await begun(gathered, store, [sent("i-1"), sent("i-2"), sent("i-2")])
        store.released.set()
        await asyncio.gather(*tasks)
    assert store.transactions == [ids("i-1"), ids("i-2")]


async def test_trouble_is_told_to_all_that_were_in_it_and_is_over_with_it() -> None:
    store = Listed(frozenset(), StoreUnavailable("away"), held=True)
    async with gathering(store) as gathered:
        tasks = await begun(gathered, store, [sent("i-1"), sent("i-2"), sent("i-3")])
        store.released.set()
        first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert first == frozenset()
        assert [type(one) for one in others] == [StoreUnavailable, StoreUnavailable]
        assert await gathered.put(sent("i-2")) == frozenset()


async def test_unfit_are_the_malformed_and_the_stores() -> None:
    async with gathering(Listed(frozenset({"i-1-0"}))) as gathered:
        malformed = sent("i-2")[:1]
        malformed[0].ClearField("at")  # type: ignore[attr-defined] # a record of ours
        assert await gathered.put([*sent("i-1"), *malformed]) == {"i-1-0", "i-2"}


async def test_who_no_longer_waits_is_stored_and_counted_until_then() -> None:
    """Else clients with little patience could fill the memory while the store hangs."""
    store = Listed(held=True)
    async with gathering(store) as gathered:
        (task,) = await begun(gathered, store, [sent("i-1")])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gathered.batches == 1
        store.released.set()
        await gathered.ask()
        assert gathered.batches == 0
    assert store.transactions[0] == ids("i-1")


async def test_asking_is_a_transaction_of_nothing() -> None:
    store = Listed(frozenset(), StoreUnavailable("away"))
    async with gathering(store) as gathered:
        await gathered.ask()
        with pytest.raises(StoreUnavailable, match="away"):
            await gathered.ask()
    assert store.transactions == [frozenset(), frozenset()]


async def test_a_transaction_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.recorder.service.gathering.MOST_TOGETHER", len(sent("i-1")) + 1)
    store = Listed(held=True)
    async with gathering(store) as gathered:
        tasks = await begun(gathered, store, [sent("i-1"), sent("i-2"), sent("i-3"), sent("i-4")])
        store.released.set()
        await asyncio.gather(*tasks)
    assert store.transactions == [ids("i-1"), ids("i-2", "i-3"), ids("i-4")]


async def test_what_waits_is_stored_before_the_end() -> None:
    store = Listed(held=True)
    gathered = Gathering(store)
    tasks = await begun(gathered, store, [sent("i-1"), sent("i-2")])
    assert not gathered.close(0)
    store.released.set()
    await asyncio.gather(*tasks)
    assert gathered.close(PATIENCE)
    assert store.transactions == [ids("i-1"), ids("i-2")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_fault_of_ours_is_no_silence() -> None:
    """A thread that is gone answers nobody, and whoever runs it must know."""
    store = Listed(ZeroDivisionError())
    gathered = Gathering(store)
    put = asyncio.create_task(gathered.put(sent("i-1")))
    await asyncio.wait_for(gathered.ended.wait(), PATIENCE)
    assert store.closed
    assert not put.done()
    put.cancel()
    assert await asyncio.to_thread(gathered.close, PATIENCE)  # what the thread said last is this test's to ignore
