"""The same load through the gateways that people pick: python -m bench.peers [--quick] [--only NAME] [--write].

Each is installed from its package registry into a folder of its own, and runs on loopback in front of `bench.provider`,
as the sidecar and what it is compared with do. They take turns, and who has none stands still.
"""

import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from bench.__main__ import DOCUMENT
from bench.document import written
from bench.peers.makes import Make, makes
from bench.peers.measuring import EVENTS, PACE, Fidelity, Round, fidelity, measured, warmed
from bench.peers.ours import ours
from bench.peers.results import tables, verdicts
from bench.peers.running import Gateway, NotMeasured, installed, running
from bench.ways import provider

CACHE: Final = Path(f"/var/tmp/aibridge-peers-{os.getuid()}")  # noqa: S108 - of the user's alone
_NAMES: Final = tuple(makes(""))
_LENGTH = 3.0  # seconds of a load


class Bench:
    """A run: what runs, what was found, and what could not be measured, and why."""

    def __init__(self, told: Console) -> None:
        self.rounds: list[Round] = []
        self.found: list[Fidelity] = []
        self.missing: dict[str, str] = {}
        self._told = told
        self._gateways: dict[str, Gateway] = {}
        self._rates: dict[str, float] = {}

    def add(self, one: Gateway) -> None:
        """Have it measured, too."""
        self._gateways[one.name] = one

    @contextmanager
    def trying(self, name: str, what: str) -> Iterator[None]:
        """Who fails is left out from then on."""
        self._told.print(f"{what} {name}", highlight=False, soft_wrap=True)
        try:
            yield
        except (NotMeasured, OSError, sqlite3.Error, HTTPException, LookupError, ValueError) as error:
            self.missing[name] = str(error)
            self._gateways.pop(name, None)
            self.rounds = [one for one in self.rounds if one.name != name]
            self._told.print(f"{name}: not measured: {error}", style="red", highlight=False, soft_wrap=True)

    def run(self, rounds: int, length: float) -> None:
        """Warm all of them up, then a round of each, in turns; then what they hand back and write down."""
        for name, one in tuple(self._gateways.items()):
            with self.trying(name, "warming up"), one.turn():
                self._rates[name] = warmed(one)
        for number in range(rounds):
            for name, one in tuple(self._gateways.items()):
                with self.trying(name, f"round {number + 1} of {rounds}:"), one.turn():
                    self.rounds.append(measured(one, self._rates[name], length))
        for name, one in tuple(self._gateways.items()):
            with self.trying(name, "what is kept by"), one.turn():
                self.found.append(fidelity(one))


def _peers(bench: Bench, stack: ExitStack, chosen: dict[str, Make], folder: Path, cache: Path) -> None:
    for key, make in chosen.items():
        with bench.trying(make.name, "installing (the first time a minute or two) and starting"):
            one = stack.enter_context(running(make, installed(make.package, cache), folder / key))
            bench.add(one)
            with one.turn():
                """It stands still from here on."""


@click.command()
@click.option("--quick", is_flag=True, help="A short run, to see that it works; its figures vary.")
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="These peers alone.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of each.  [default: 3, quick: 1]")
@click.option("--write", is_flag=True, help=f"Have what was found in {DOCUMENT}.")
@click.option(
    "--cache", type=click.Path(path_type=Path), default=CACHE, show_default=True, help="Where they are installed."
)
def main(*, quick: bool, only: Sequence[str], rounds: int | None, write: bool, cache: Path) -> None:
    """Measure, and print tables and ratios; some minutes, and nothing else may run meanwhile."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    if cache.stat().st_uid != os.getuid():
        msg = f"{cache} is somebody else's; name another with --cache"
        raise click.ClickException(msg)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    bench = Bench(Console(stderr=True))
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as made, ExitStack() as stack:
        url = stack.enter_context(provider("bench.provider", EVENTS, PACE, 0.0))
        for one in stack.enter_context(ours(Path(made), url)):
            bench.add(one)
        chosen = {key: make for key, make in makes(url).items() if not only or key in only}
        _peers(bench, stack, chosen, Path(made), cache)
        bench.run(rounds or (1 if quick else 3), _LENGTH / 6 if quick else _LENGTH)
    shown, told = tuple(tables(bench.rounds, bench.found, bench.missing)), tuple(verdicts(bench.rounds))
    for table in shown:
        console.print(table.shown())
    for verdict in told:
        console.print(verdict, highlight=False)
    if write:
        written(DOCUMENT, "peers", shown, told)


if __name__ == "__main__":
    main()
