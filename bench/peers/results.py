"""What was found of each gateway, as tables, and the ratios that are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.tables import Table, number
from bench.ways import OURS


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One gateway's. `cpu` in seconds, `memory` in bytes; `many`, `one`, `stream`: as `bench.peers.asking` says."""

    name: str
    requests: int
    cpu: float
    memory: int
    many: dict[str, Any]
    one: dict[str, Any]
    stream: dict[str, Any]

    @property
    def rate(self) -> float:
        """Answers a second, 16 connections."""
        return float((self.requests - self.many["errors"]) / self.many["seconds"])

    @property
    def errors(self) -> int:
        """Answers that failed, of all."""
        return sum(int(part["errors"]) for part in (self.many, self.one, self.stream))

    def told(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def tables(found: Sequence[Result]) -> Iterator[Table]:
    """One of all."""
    head = ("", "requests/s", "p50 ms, 16", "p50 ms, 1", "first event ms", "CPU µs", "MiB", "errors", "altered")
    yield Table(title="Gateways", head=head, rows=tuple(map(_row, found)))


def _row(one: Result) -> tuple[str, ...]:
    figures = (one.rate, one.many["latency"]["p50"], one.one["latency"]["p50"], one.stream["first"]["p50"])
    spent, held = one.cpu / one.requests * 1e6, one.memory / (1 << 20)
    altered = f"{one.many['altered'] + one.one['altered']} JSON, {one.stream['altered']} SSE"
    return (one.name, *map(number, (*figures, spent, held)), str(one.errors), altered)


def verdicts(found: Sequence[Result]) -> Iterator[str]:
    """Ours to each gateway's; of one that failed there is none."""
    named = {one.name: one for one in found}
    if not (ours := named.get(OURS)):
        return
    for other in found:
        least, sixteen, single = _wanted(other.name)
        if not least:
            continue
        if other.errors or ours.errors:
            yield f"{other.name}: no ratio: {other.errors} of its answers failed, {ours.errors} of ours"
            continue
        yield f"requests/s, 16 connections, to {other.name}: {ours.rate / other.rate:.2f}, at least: {least}"
        for part, most, count in (("many", sixteen, 16), ("one", single, 1)):
            mine, theirs = (getattr(one, part)["latency"]["p50"] for one in (ours, other))
            if most:
                yield f"p50, connections: {count}, to {other.name}: {mine / theirs:.3f}, at most: {most}"


def _wanted(name: str) -> tuple[float, float, float]:
    if name == "LiteLLM, usage logging on":
        return 20, 0.05, 0.2
    return (1.5, 0, 1.3) if name.startswith("Portkey") else (0, 0, 0)
