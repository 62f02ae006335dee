"""What retention and a purge delete: interceptions that have ended, with everything that belongs to them.

    Scope ─▶ Erasure.count ─▶ Counts        what would go
    Scope ─▶ Erasure.erase ─▶ Counts        what went: in small transactions, giving way to the writers after each

What is open stays, whatever its age: its end, and what belongs to it, is still to come. Rows whose interception is not
there go by their own age.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from sidecar.recorder.batches import INTERCEPTIONS

T = TypeVar("T", bound=tuple[Any, ...])
Pause = Callable[[float], bool]  # wait so many seconds; whether to stop
Progress = Callable[[int], None]  # so many more interceptions are gone

GOAL: Final = 0.05  # seconds that a transaction should last: a writer that meets one waits for it
GIVING_WAY: Final = 4  # times as long as it lasted nothing is done after it
LONGEST_PAUSE: Final = 1.0  # seconds of that
BUSY_PAUSE: Final = 0.1  # seconds before another try where somebody else was in the way


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which interceptions: those that started `before` then (aware; None: whenever), of this actor (None: anybody)."""

    before: datetime | None = None
    actor: str | None = None

    def __post_init__(self) -> None:
        if self.before is None and self.actor is None:
            msg = "a scope of everything"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rows by table, those with none left out; `left`: interceptions of the scope that are open, and stay."""

    rows: Mapping[str, int] = field(default_factory=Counter)
    left: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(rows=Counter(self.rows) + Counter(other.rows), left=self.left + other.left)


class Erasure(Protocol):
    """One store's. Used by one thread; its methods raise `JournalUnavailable` or `StoreUnavailable`.

    Somebody else's lock is no reason: they give way and try again, until `pause` says to stop; what is done is done.
    """

    def count(self, scope: Scope) -> Counts:
        """What would go, and changes nothing."""

    def erase(self, scope: Scope, pause: Pause, progress: Progress = ...) -> Counts:
        """Delete it; returns what went."""

    def settle(self, pause: Pause, *, rewrite: bool = False) -> str:
        """See to it that no deleted text stays in the store's files; returns what is to be told, empty if nothing.

        `rewrite`: even where that keeps writers waiting.
        """

    def close(self) -> None:
        """Let go of the connection."""


def first_id(seconds: float) -> str:
    """Sorts before every id that was made from then on (seconds since the epoch; UUIDv7: milliseconds first)."""
    millis = f"{max(0, int(seconds * 1000)):012x}"
    return f"{millis[:8]}-{millis[8:]}"


def nobody(_interceptions: int) -> None:
    """The progress that nobody watches."""


class Pace:
    """How many interceptions a transaction may take: as many as fit into `goal` seconds, and `most` at most."""

    def __init__(self, most: int, pause: Pause, *, goal: float = GOAL, giving_way: float = GIVING_WAY) -> None:
        """`giving_way`: times as long as a transaction lasted nothing is done after it."""
        self._most = most
        self._pause = pause
        self._goal = goal
        self._giving_way = giving_way
        self.size = most
        self.stopped = False

    def give_way(self, began: float, ended: float) -> None:
        """After a transaction between these two readings of a clock, in seconds."""
        took = ended - began
        self.size = max(1, min(self._most, 2 * self.size, int(self.size * self._goal / max(took, 1e-6))))
        self.stopped = self._pause(min(self._giving_way * took, LONGEST_PAUSE))

    def try_again(self) -> bool:
        """After somebody else was in the way: whether to."""
        self.stopped = self._pause(BUSY_PAUSE)
        return not self.stopped


def sweep(
    find: Callable[[T | None, int], Sequence[T]],
    delete: Callable[[list[str]], Counter[str]],
    pace: Pace,
    progress: Progress = nobody,
) -> Counter[str]:
    """Delete page after page of what is found, until there is none or `pace` stops.

    `find`: rows that end with an id, so many at most, after the last one of the page before.
    """
    gone: Counter[str] = Counter()
    last: T | None = None
    while not pace.stopped and (page := find(last, pace.size)):
        some = delete([row[-1] for row in page])
        progress(some[INTERCEPTIONS])
        gone += some
        last = page[-1]
    return gone
