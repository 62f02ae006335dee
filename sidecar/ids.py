"""Ids of interceptions and rows: UUIDv7 (RFC 9562, section 5.7), in order of their making within a process."""

import secrets
from collections.abc import Callable

_COUNTED = 1 << 74  # the bits after the time, less version and variant: a counter that starts at random


class Ids:
    """Call it for the next id, as text. Later ids sort after earlier ones, even when the clock steps back."""

    def __init__(self, now: Callable[[], float], random: Callable[[int], int] = secrets.randbelow) -> None:
        """`now` is in seconds since the epoch; `random` gives an integer below its argument."""
        self._now = now
        self._random = random
        self._last = (0, 0)

    def __call__(self) -> str:
        """Return the next id."""
        millis, (last_millis, count) = int(self._now() * 1000), self._last
        # Half of the counter's room is left, so that what follows within a millisecond cannot overflow.
        self._last = (millis, self._random(_COUNTED // 2)) if millis > last_millis else (last_millis, count + 1)
        millis, count = self._last
        high, low = count >> 62, count & ((1 << 62) - 1)
        text = f"{millis << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
