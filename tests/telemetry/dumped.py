"""Exchanges played to dumps, as the server shows them, and what then stands in the folder."""

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from sidecar.core.events import Body, Event, Side
from sidecar.core.interception import Interception
from sidecar.settings import Dump, Provider, Recorder, Settings
from sidecar.telemetry.dumps import FileDumps, opened
from tests.core.play import ID, KEY, Exchange
from tests.e2e.waiting import PATIENCE

EXTRA = "extra-canary-0123456789"


def settings(root: Path, *, recorder: Recorder | None = None, **dump: object) -> Settings:
    provider = Provider(base_url="https://api.example/base/v1", api_key=KEY, extra_headers={"x-extra": EXTRA})
    return Settings(dump=Dump(dir=root, **dump), recorder=recorder or Recorder(), providers=(provider,))


def dump(dumps: FileDumps, events: Iterator[Event], settings: Settings, name: str = ID) -> None:
    """Show an exchange to the dumps, as `sidecar.server` does."""
    interception, gate = Interception(id=name, policy=settings.policy()), settings.gate()
    shown = dumps.begin(name)
    for event in events:
        is_chunk = isinstance(event, Body) and event.side is Side.RESPONSE and not event.end
        if isinstance(event, Body) and is_chunk and interception.skims(event.data):
            shown.chunk(event.data)
        else:
            step = interception.receive(event)
            shown.seen(event, replace(step, records=tuple(gate(step.records))))
            interception.read()
    shown.close()


def dumped(settings: Settings, exchange: Exchange, chunks: list[bytes] | None = None) -> dict[str, str]:
    """The files that one exchange leaves, by their path below the folder."""
    events = (*exchange.asking(), *exchange.answering([exchange.sent()] if chunks is None else chunks))
    return played(settings, events)


def played(settings: Settings, events: tuple[Event, ...]) -> dict[str, str]:
    """The files that these events leave."""
    dumps = opened(settings)
    dump(dumps, iter(events), settings)
    dumps.close(PATIENCE)
    return files(settings)


def files(settings: Settings) -> dict[str, str]:
    root = settings.dump.dir
    assert root is not None
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
