"""Calls that are put off: all are made, in their order, soon."""

from collections.abc import Callable

import pytest

from sidecar.telemetry.batching import LONGEST, MOST, Batch


class Loop:
    """One whose time is the test's to pass."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((seconds, call))

    def passes(self) -> None:
        due, self.due = self.due, []
        for _, call in due:
            call()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def batch(loop: Loop) -> Batch:
    return Batch(loop.later)


def test_what_is_put_off_is_made_a_moment_later_in_its_order(loop: Loop, batch: Batch) -> None:
    made: list[int] = []
    for number in range(3):
        batch.put(made.append, number)
    assert (made, [seconds for seconds, _ in loop.due]) == ([], [LONGEST])
    loop.passes()
    assert (made, loop.due) == ([0, 1, 2], [])


def test_many_do_not_wait_for_the_moment(loop: Loop, batch: Batch) -> None:
    made: list[int] = []
    for number in range(MOST + 1):
        batch.put(made.append, number)
    assert made == list(range(MOST))
    loop.passes()
    assert made == list(range(MOST + 1))


def test_what_is_put_off_by_what_is_made_is_made_as_well(loop: Loop, batch: Batch) -> None:
    made: list[int] = []
    batch.put(batch.put, made.append, 1)
    batch.make()
    assert made == []
    loop.passes()
    assert made == [1]


def test_it_may_be_asked_when_nothing_waits(loop: Loop, batch: Batch) -> None:
    batch.make()
    assert loop.due == []
