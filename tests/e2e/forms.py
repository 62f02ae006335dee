"""How long tests of crashes and outages last: short in `make test`, in full in `make soak`. Nothing else differs."""

import sys
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """`moments`: kills in one test; `outage`: seconds of each; `asked`: requests between two outages.

    `pieces`: of answers that are read where nothing goes wrong.
    """

    moments: int
    outage: float
    asked: int
    pieces: int
    tells: bool = False

    def progress(self, what: str) -> None:
        """Say how far a long test has come, on a line that the next one overwrites; a short one says nothing."""
        if self.tells:
            sys.stderr.write(f"\r\x1b[K{what}")
            sys.stderr.flush()


SHORT: Final = Form(moments=4, outage=0.5, asked=12, pieces=300)
FULL: Final = Form(moments=100, outage=60.0, asked=200, pieces=20_000, tells=True)
