"""One round of load on one gateway, and what it hands back and writes down; by the clients of the other benchmarks."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bench.bridges import memory, process, seconds
from bench.peers.makes import Counts
from bench.peers.running import Gateway, NotMeasured

EVENTS: Final = 30
PACE: Final = 0.02  # seconds between two events
MANY: Final = 16
LEFT: Final = 4  # streams that are left amid
ASKED: Final = 2 * LEFT  # documents and streams that are not
_TIMEOUT = 180.0  # seconds for one load
_BEGUN, _SETTLED = 60.0, 10.0  # seconds, at most, until a gateway has done what it has begun: at its start, later
_LOOK, _IDLE = 0.25, 0.05  # seconds between looks, part of a core that is none
_NOTHING: Final = Counts(records=0, usage=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One load on 16 connections and one on a single connection. Milliseconds; CPU in microseconds a request; bytes."""

    name: str
    requests: int
    rate: float
    p50: float
    p99: float
    p50_alone: float
    p99_alone: float
    cpu: float
    memory: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """What came back of `ASKED` requests, and what was written down of them and of `LEFT` that clients left amid.

    `json`, `sse`: a word each. `kept`, `left`: None where nothing is written down.
    """

    name: str
    json: str
    sse: str
    kept: Counts | None
    left: Counts | None


def warmed(one: Gateway) -> float:
    """Warm it up; the requests a second on 16 connections that it comes to."""
    count = rate = 4.0 * MANY
    for _ in range(2):
        rate = round(count) / float(_load(one, "json", MANY, round(count))["seconds"])
        _settle(one.pids(), _BEGUN)
        count = max(count, 2 * rate)  # two seconds' worth
    return rate


def measured(one: Gateway, rate: float, length: float) -> Round:
    """A round of `length` seconds on 16 connections, by the rate that it came to, and half of it on one."""
    count, pids = max(2 * MANY, round(rate * length)), one.pids()
    before = sum(map(seconds, pids))
    many = _load(one, "json", MANY, count)
    _settle(pids)  # what it does after the answer counts, too
    spent = sum(map(seconds, pids)) - before
    alone = _load(one, "json", 1, max(MANY, count // 8))
    return Round(
        name=one.name,
        requests=count,
        rate=count / many["seconds"],
        p50=many["latency"]["p50"],
        p99=many["latency"]["p99"],
        p50_alone=alone["latency"]["p50"],
        p99_alone=alone["latency"]["p99"],
        cpu=spent / count * 1e6,
        memory=memory(pids),
        errors=sum(told["errors"] - told["altered"] for told in (many, alone)),
    )


def fidelity(one: Gateway) -> Fidelity:
    """Ask for a document and for streams, and leave as many streams amid, and look what was kept of each."""
    told = dict[str, str]()

    def ask() -> None:
        told.update({kind: _word(_load(one, kind, LEFT, LEFT)) for kind in ("json", "sse")})

    kept = _kept(one, ask, ASKED)
    left = _kept(one, lambda: _load(one, "sse", LEFT, LEFT, "leave=100"), LEFT)
    return Fidelity(name=one.name, **told, kept=kept, left=left)


def _word(told: dict[str, Any]) -> str:
    return "changed" if told["altered"] else "failed" if told["errors"] else "unchanged"


def _kept(one: Gateway, ask: Callable[[], object], wanted: int) -> Counts | None:
    """What more is written down once all is, or once nothing more comes."""
    if not one.counts:
        ask()
        return None
    _settle(one.pids())  # or what was asked before would be counted
    before = one.counts()
    ask()
    until = time.monotonic() + _SETTLED
    while (found := one.counts() - before).usage < wanted and time.monotonic() < until:
        time.sleep(_LOOK)
    return found


def _load(one: Gateway, kind: str, connections: int, requests: int, *how: str) -> dict[str, Any]:
    words = (one.address, kind, *map(str, (connections, requests, EVENTS)), f"path={one.path}", *how)
    more = (f"more={one.more}",) if one.more else ()
    with process("-m", "bench.load", *words, *more) as clients:
        try:
            told, _ = clients.communicate(timeout=_TIMEOUT)
            return dict(json.loads(told))
        except (subprocess.TimeoutExpired, ValueError) as error:
            msg = f"{kind} requests on {connections} connections came to no end"
            raise NotMeasured(msg) from error


def _settle(pids: tuple[int, ...], most: float = _SETTLED) -> None:
    until, before = time.monotonic() + most, sum(map(seconds, pids))
    while time.monotonic() < until:
        time.sleep(_LOOK)
        now = sum(map(seconds, pids))
        if now - before < _IDLE * _LOOK:
            return
        before = now
