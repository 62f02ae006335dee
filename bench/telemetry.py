"""What telemetry costs: CPU of Envoy and sidecar per JSON request, against the same two without any.

python -m bench.telemetry [--quick]

    off          neither metrics nor traces
    unsampled    metrics; traces are on, but the clients' own are not sampled
    sampled      metrics, and a trace of every request, to a collector that takes all and looks at nothing
"""

import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import click
import grpc
from rich.console import Console

from bench.bridges import SIDECAR, UNSEEN, bridge, process
from bench.ratios import Plan, Sample, measured, spread

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


def run(plan: Plan, folder: Path) -> Samples:
    """Measure each way in turn, round by round, after one round that warms up."""
    with ExitStack() as running:
        arguments = map(str, (plan.events, plan.pace, plan.delay))
        provider = running.enter_context(process("-m", "bench.provider", *arguments))
        assert provider.stdout  # noqa: S101 - it was asked for
        url = provider.stdout.readline().strip()
        seen = ON.format(collector=running.enter_context(collector()))
        bridges = {
            name: running.enter_context(bridge(name, SIDECAR, folder / name, url, telemetry))
            for name, telemetry in {"off": UNSEEN, "on": seen}.items()
        }
        samples: Samples = {way: [] for way in WAYS}
        for number in range(plan.rounds + 1):
            for way, (name, how) in WAYS.items():
                sample = measured(bridges[name], "json", plan, how)
                if number:
                    samples[way].append(sample)
        return samples


def lines(samples: Samples) -> Iterator[str]:
    """What each way costs, and its ratio to `off`."""
    for way, several in samples.items():
        yield f"telemetry {way}: {median(one.total for one in several):.0f} µs of CPU a JSON request"
    for way in ("unsampled", "sampled"):
        found = [one.total / off.total for one, off in zip(samples[way], samples["off"], strict=True)]
        allowed = f", allowed: {ALLOWED[way]}" if way in ALLOWED else ""
        yield f"ratio {way} to off: {spread(found, 2)}{allowed}"


@click.command()
@click.option("--quick", is_flag=True, help="A short run, to see that it works; its figures vary.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of each.  [default: 5, quick: 1]")
@click.option("--requests", type=click.IntRange(16), help="JSON requests a round.  [default: 3000, quick: 100]")
def main(*, quick: bool, rounds: int | None, requests: int | None) -> None:
    """Measure, and print the ratios. Exit status 1 when an answer was not the provider's."""
    usual = (1, 100) if quick else (5, 3000)
    plan = Plan(rounds=rounds or usual[0], requests=requests or usual[1], events=10, pace=0.01, delay=0.02)
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as made:
        samples = run(plan, Path(made))
    for line in lines(samples):
        Console(width=100).print(line)
    sys.exit(any(sample.errors for several in samples.values() for sample in several))


if __name__ == "__main__":
    main()
