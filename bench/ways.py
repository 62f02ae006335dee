"""The four ways to a provider that are compared: none between, Envoy alone, with a processor that acks, with ours."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from bench.bridges import ACKING, ALONE, SIDECAR, Bridge, Cost, bridge, memory, process

T = TypeVar("T")
COMMANDS: Final = {"Envoy alone": ALONE, "acking processor": ACKING, "sidecar": SIDECAR}
DIRECT: Final = "no gateway"
ACKS: Final = "acking processor"
OURS: Final = "sidecar"
QUICK: Final = "sidecar, completion queue"  # by its setting `grpc_server`
NOTHING: Final = Cost(envoy=0.0, processor=0.0, messages=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One of them: where clients ask, and what stands between."""

    name: str
    address: str
    bridge: Bridge | None = None

    def cost(self) -> Cost:
        """What Envoy and processor have spent so far."""
        return self.bridge.cost() if self.bridge else NOTHING

    def memory(self) -> int:
        """Bytes that they have resident."""
        return memory((self.bridge.envoy, *self.bridge.processors)) if self.bridge else 0


@contextmanager
def ways(folder: Path, url: str, *, quick: bool = False) -> Iterator[Mapping[str, Way]]:
    """All four, running, in front of the provider at `url`; `quick`: and ours once more, with its quick server."""
    with ExitStack() as running:
        found = {DIRECT: Way(name=DIRECT, address=url.removeprefix("http://"))}
        for name, command in COMMANDS.items():
            one = running.enter_context(bridge(name, command, folder / name.replace(" ", "-"), url))
            found[name] = Way(name=name, address=one.settings.listen, bridge=one)
        if quick:
            one = running.enter_context(bridge("quick", SIDECAR, folder / "quick", url, server="completion_queue"))
            found[QUICK] = Way(name=QUICK, address=one.settings.listen, bridge=one)
        yield found


@contextmanager
def provider(module: str, *arguments: object) -> Iterator[str]:
    """The URL of a provider that runs: `bench.provider` or `bench.ticking`."""
    with process("-m", module, *map(str, arguments)) as running:
        assert running.stdout  # noqa: S101 - it was asked for
        yield running.stdout.readline().strip()


def in_turn(several: Iterable[T], number: int) -> Iterator[T]:
    """All of them; each round, by its `number`, begins with another, since it matters after whom one comes."""
    order = deque(several)
    order.rotate(-number)
    yield from order
