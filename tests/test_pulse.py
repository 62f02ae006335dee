import asyncio
from contextlib import suppress

from sidecar.pulse import INTERVAL, STALL, Pulse


class Clock:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_a_heart_that_beats_has_not_stalled() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    clock.time += STALL - 0.001
    assert not pulse.stalled(100.0)


def test_a_gap_is_seen_before_the_heart_beats_again() -> None:
    """A stream's end may be the first thing that runs after a stop."""
    clock = Clock()
    pulse = Pulse(clock)
    clock.time += STALL
    assert pulse.stalled(100.0)


def test_what_began_after_a_gap_does_not_feel_it() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    clock.time += STALL
    assert pulse.stalled(104.0)
    assert not pulse.stalled(104.001)


async def test_beats_make_gaps_short(monkeypatch: object) -> None:
    """A minute of beats has no gap in it; a beat that comes late has seen one, and it stays seen."""
    clock = Clock()
    pulse = Pulse(clock)
    pauses = iter([INTERVAL] * 120 + [STALL, INTERVAL])
    done = asyncio.Event()

    async def sleep(asked: float) -> None:
        assert asked == INTERVAL
        pause = next(pauses, None)
        if pause is None:
            done.set()
            await asyncio.Event().wait()
        else:
            clock.time += pause

    monkeypatch.setattr("sidecar.pulse.asyncio.sleep", sleep)  # type: ignore[attr-defined]
    heart = asyncio.create_task(pulse.beat())
    await done.wait()
    assert pulse.stalled(100.0)
    assert pulse.stalled(100.0 + 120 * INTERVAL + STALL)
    assert not pulse.stalled(100.0 + 120 * INTERVAL + STALL + 0.001)
    heart.cancel()
    with suppress(asyncio.CancelledError):
        await heart


def test_envoy_would_have_gone_on_by_then() -> None:
    """Its message timeout is 5 s, and some of it is spent on the way."""
    assert INTERVAL < STALL < 5
