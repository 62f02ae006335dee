"""Whether this process has lately been standing still: stopped, swapped out, or busy in one call."""

import asyncio
from collections.abc import Callable

INTERVAL = 0.5  # seconds
# Envoy waits 5 s for a reply (`message_timeout`) and then goes on without us; some of it may have passed elsewhere.
STALL = 4.0


class Pulse:
    """A heart that beats on the event loop, so that a gap in its beats is a gap in everything."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now`: seconds on a clock that never steps."""
        self.now = now
        self._beaten = now()
        self._stalled = float("-inf")

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            self._beaten = self.now()
            await asyncio.sleep(INTERVAL)
            self._note()

    def stalled(self, since: float) -> bool:
        """Whether everything stood still for `STALL` seconds or longer at some time after `since`."""
        self._note()
        return self._stalled >= since

    def _note(self) -> None:
        now = self.now()
        if now - self._beaten >= STALL:
            self._stalled = now
