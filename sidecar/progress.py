"""How far an export or a purge is, for whoever waits at a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Count = Callable[[int], None]


@contextmanager
def counting(total: int, *, shown: bool = True) -> Iterator[Count]:
    """Call what is given with each number of interceptions that are done, out of `total`.

    `shown`: as a bar on standard error, if that is a terminal.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda _: None
        return
    columns = (TextColumn("interceptions"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.advance(task, done)
