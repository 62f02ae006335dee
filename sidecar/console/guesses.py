"""How many wrong tokens are looked at: so many in a while, from everybody together: a proxy may hide who comes."""

import math
from dataclasses import dataclass
from typing import Final

MOST: Final = 20  # wrong tokens in one window: two in a second, at which even a short token outlasts the guessing
WINDOW: Final = 10.0  # seconds


@dataclass(slots=True)
class Guesses:
    """Counts wrong tokens. What comes while none is looked at counts for nothing: no window is ever made longer."""

    since: float = -math.inf
    wrong: int = 0

    def wait(self, at: float) -> int:
        """Whole seconds until a token is looked at again, at most those of a window; 0: now. `at`: monotonic."""
        left = self.since + WINDOW - at
        return math.ceil(left) if left > 0 and self.wrong >= MOST else 0

    def miss(self, at: float) -> None:
        """A wrong one came at `at`."""
        if at >= self.since + WINDOW:
            self.since, self.wrong = at, 0
        self.wrong += 1
