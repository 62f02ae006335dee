"""What was found of each gateway, as tables, and the ratios that are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.peers.makes import UNLISTED, Counts
from bench.peers.measuring import ASKED, LEFT, MANY, Fidelity, Round
from bench.tables import Table, number, ratio
from bench.ways import ACKS, OURS, QUICK

_MIB = 1 << 20
_BESIDE: Final = {QUICK: "with the completion queue", ACKS: "the acking processor"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What ours may come to against a peer's: requests a second at least, p50 on 16 and on one connection at most."""

    rate: float | None = None
    many: float | None = None
    alone: float | None = None


WANTED: Final = {
    "LiteLLM, usage logging on": Wanted(rate=20, many=1 / 20, alone=1 / 5),
    "Portkey, records nothing": Wanted(rate=1.5, alone=1.3),
}


def tables(rounds: Sequence[Round], found: Sequence[Fidelity], missing: Mapping[str, str]) -> Iterator[Table]:
    """Speed, and what comes back and is written down. `missing`: gateways that were not measured, and why."""
    names = dict.fromkeys(one.name for one in rounds)
    head = ("requests/s", f"p50 ms, {MANY}", f"p99 ms, {MANY}", "p50 ms, 1", "p99 ms, 1", "CPU µs", "MiB", "errors")
    rows = [_row([one for one in rounds if one.name == name]) for name in names]
    absent = [(f"{name}: not measured: {why}", *("" for _ in head)) for name, why in missing.items()]
    yield Table(title=f"JSON requests on {MANY} connections and on 1", head=("", *head), rows=(*rows, *absent))
    yield Table(
        title="What comes back, and what is written down",
        head=("", "JSON", "SSE", "usage of answers", "usage of streams that clients left amid"),
        rows=tuple(
            (one.name, one.json, one.sse, kept(one.name, one.kept, ASKED), kept(one.name, one.left, LEFT))
            for one in found
        ),
    )


def _row(several: Sequence[Round]) -> tuple[str, ...]:
    def middle(of: Callable[[Round], float]) -> str:
        return number(median(map(of, several)))

    return (
        several[0].name,
        middle(lambda one: one.rate),
        middle(lambda one: one.p50),
        middle(lambda one: one.p99),
        middle(lambda one: one.p50_alone),
        middle(lambda one: one.p99_alone),
        middle(lambda one: one.cpu) if several[0].cpu else "",
        middle(lambda one: one.memory / _MIB) if several[0].memory else "",
        str(sum(one.errors for one in several)),
    )


def kept(name: str, found: Counts | None, asked: int) -> str:
    """In words: of how many of the exchanges usage was written down, or at least that there was one."""
    if found is None:
        return "off" if name.endswith(" off") else "not offered"
    if found.usage:
        return f"recorded, {found.usage} of {asked}"
    return f"the exchange, {found.records} of {asked}, no usage" if found.records else "no"


def verdicts(rounds: Sequence[Round]) -> Iterator[str]:
    """Ours to each peer's, round by round, and beside it that of our quick server, and of the acking processor.

    Of a peer of whose answers some failed there is no ratio.
    """
    named = {name: [one for one in rounds if one.name == name] for name in dict.fromkeys(one.name for one in rounds)}
    ours = named.get(OURS, [])
    others = {label: named[name] for name, label in _BESIDE.items() if name in named}
    for name in [name for name in named if "," in name and name != QUICK] if ours else ():
        theirs, wanted = named[name], WANTED.get(name, Wanted())
        if failed := sum(one.errors for one in (*ours, *theirs)):
            yield f"against {name}: no ratio, since {failed} answers failed"
            continue
        for what, figure, limit in (
            (f"requests/s against {name}, {MANY} connections", "rate", wanted.rate),
            (f"p50 against {name}, {MANY} connections", "p50", wanted.many),
            (f"p50 against {name}, 1 connection", "p50_alone", wanted.alone),
        ):
            told = "" if limit is None else f", {'at least' if figure == 'rate' else 'at most'}: {limit:g}"
            beside = "".join(f"; {label}: {_ratio(other, theirs, figure)}" for label, other in others.items())
            yield f"{what}: {_ratio(ours, theirs, figure)}{told}{beside}"
    yield f"not measured, being in no package registry: {', '.join(UNLISTED)}"


def _ratio(ours: Sequence[Round], theirs: Sequence[Round], figure: str) -> str:
    return ratio([getattr(one, figure) / getattr(other, figure) for one, other in zip(ours, theirs, strict=True)])
