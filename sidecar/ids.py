"""Ids of interceptions and rows: UUIDv7 (RFC 9562, section 5.7), in order of their making within a process."""

import os
from collections.abc import Callable, Iterator

# After the time, version and variant there are 74 bits: a counter, which starts at random in the lower half of its
# room, so that what follows within a millisecond cannot overflow.
_STARTS = 1 << 73
_BYTES = 10  # of a random number; more than the counter's
_DRAWN = 400  # numbers at once: to ask the kernel for each costs more than all the rest


class Ids:
    """Call it for the next id, as text. Later ids sort after earlier ones, even when the clock steps back."""

    def __init__(self, now: Callable[[], float], random: Iterator[int] | None = None) -> None:
        """`now` is in seconds since the epoch; `random` gives integers of any size, by default the system's."""
        self._now = now
        self._random = random or _random()
        self._last = (0, 0)

    def __call__(self) -> str:
        """Return the next id."""
        millis, (last_millis, count) = int(self._now() * 1000), self._last
        self._last = (millis, next(self._random) % _STARTS) if millis > last_millis else (last_millis, count + 1)
        millis, count = self._last
        high, low = count >> 62, count & ((1 << 62) - 1)
        text = f"{millis << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _random() -> Iterator[int]:
    while True:
        drawn = os.urandom(_BYTES * _DRAWN)
        yield from (int.from_bytes(drawn[at : at + _BYTES]) for at in range(0, len(drawn), _BYTES))
