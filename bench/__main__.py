"""Everything that is measured, one after the other: python -m bench [--quick] [--only SECTION] [--write].

The sections are modules here. With `--write` the report (`docs/performance.md`, with its chart) becomes what was found.
"""

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import growth, ratios, requests, soak, streams, telemetry, trouble
from bench.document import written
from bench.pictures import Picture
from bench.tables import Table

_WIDTH = 140  # columns of the tables, where no terminal says how many there are
DOCUMENT: Final = Path("docs/performance.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What is measured together. `run` takes a folder, rounds and the part of the usual amount."""

    run: Callable[[Path, int, float], Iterator[Any]]
    tables: Callable[[Sequence[Any]], Iterator[Table]]
    verdicts: Callable[[Sequence[Any]], Iterator[str]] = lambda _: iter(())
    pictures: Callable[[Sequence[Any]], Iterator[Picture]] = lambda _: iter(())


def _soak(folder: Path, _: int, part: float) -> Iterator[soak.Look]:
    yield from soak.run(folder, 10 * part)


SECTIONS: Final = {
    "ratios": Section(run=ratios.run, tables=ratios.tables, verdicts=ratios.verdicts, pictures=ratios.pictures),
    "telemetry": Section(run=telemetry.run, tables=telemetry.tables, verdicts=telemetry.verdicts),
    "requests": Section(run=requests.run, tables=requests.tables, verdicts=requests.verdicts),
    "streams": Section(run=streams.run, tables=streams.tables, verdicts=streams.verdicts, pictures=streams.pictures),
    "growth": Section(run=growth.run, tables=growth.tables),
    "trouble": Section(run=trouble.run, tables=trouble.tables),
    "soak": Section(run=_soak, tables=soak.tables, verdicts=soak.verdicts),
}


@click.command()
@click.option("--quick", is_flag=True, help="A short run, to see that it works; its figures vary.")
@click.option("--only", multiple=True, type=click.Choice(tuple(SECTIONS)), help="These sections alone.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of each.  [default: 3, quick: 1]")
@click.option("--write", is_flag=True, help=f"Have what was found in {DOCUMENT}.")
def main(*, quick: bool, only: Sequence[str], rounds: int | None, write: bool) -> None:
    """Measure, and print tables and ratios; some three quarters of an hour, and nothing else may run meanwhile."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        names = only or tuple(SECTIONS)
        whole = progress.add_task("sections", total=len(names))
        for name in names:
            task = progress.add_task(name, total=None)
            step = partial(progress.advance, task)
            found = _measured(SECTIONS[name], rounds or (1 if quick else 3), 0.05 if quick else 1.0, step)
            progress.update(task, visible=False)
            progress.advance(whole)
            tables, verdicts = tuple(SECTIONS[name].tables(found)), tuple(SECTIONS[name].verdicts(found))
            for table in tables:
                console.print(table.shown())
            for verdict in verdicts:
                console.print(verdict)
            if write:
                written(DOCUMENT, name, tables, verdicts, tuple(SECTIONS[name].pictures(found)))


def _measured(section: Section, rounds: int, part: float, step: Callable[[], object]) -> list[Any]:
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as made:
        for one in section.run(Path(made), rounds, part):
            found.append(one)
            step()
    return found


if __name__ == "__main__":
    main()
