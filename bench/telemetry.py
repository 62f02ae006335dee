"""What telemetry costs: CPU of Envoy and sidecar per JSON request, against the same two without any.

off          neither metrics nor traces
unsampled    metrics; traces are on, but the clients' own are not sampled
sampled      metrics, and a trace of every request, to a collector that takes all and looks at nothing
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import grpc

from bench.bridges import SIDECAR, UNSEEN, bridge
from bench.ratios import Plan, Sample, measured
from bench.tables import Table, ratio
from bench.ways import in_turn, provider

ON: Final = 'metrics = "{{metrics}}"\notlp_endpoint = "{collector}"'
WAYS: Final = {"off": ("off", "unsampled"), "unsampled": ("on", "unsampled"), "sampled": ("on", "sampled")}
ALLOWED: Final = {"unsampled": 1.1}
Samples = dict[str, list[Sample]]


@contextmanager
def collector() -> Iterator[str]:
    """The URL of one that takes whatever comes, in this process, which is not counted."""
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers((_Anything(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(grace=None).wait()


class _Anything(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(lambda *_: b"")


def run(folder: Path, rounds: int, part: float = 1.0) -> Iterator[Samples]:
    """Each way in turn, round by round, after one that warms up; `part` of the usual amount. Once, with everything."""
    plan = Plan(rounds=rounds, requests=max(64, round(3000 * part)), events=10, pace=0.01, delay=0.02)
    with ExitStack() as running:
        url = running.enter_context(provider("bench.provider", plan.events, plan.pace, plan.delay))
        seen = ON.format(collector=running.enter_context(collector()))
        bridges = {
            name: running.enter_context(bridge(name, SIDECAR, folder / name, url, telemetry=telemetry))
            for name, telemetry in {"off": UNSEEN, "on": seen}.items()
        }
        samples: Samples = {way: [] for way in WAYS}
        for number in range(plan.rounds + 1):
            for way, (name, how) in in_turn(WAYS.items(), number):
                sample = measured(bridges[name], "json", plan, how)
                if number:
                    samples[way].append(sample)
        yield samples


def tables(found: Sequence[Samples]) -> Iterator[Table]:
    """One of all."""
    rows = (
        (way, *(f"{median(getattr(one, name) for one in several):.0f}" for name in ("total", "envoy", "processor")))
        for way, several in found[0].items()
    )
    yield Table(title="Telemetry", head=("", "CPU µs a JSON request", "Envoy", "sidecar"), rows=tuple(rows))


def verdicts(found: Sequence[Samples]) -> Iterator[str]:
    """The ratios to `off`."""
    for way in ("unsampled", "sampled"):
        pairs = zip(found[0][way], found[0]["off"], strict=True)
        allowed = f", allowed: {ALLOWED[way]}" if way in ALLOWED else ""
        told = ratio([one.total / off.total for one, off in pairs])
        yield f"CPU per JSON request, telemetry {way}, to off: {told}{allowed}"
