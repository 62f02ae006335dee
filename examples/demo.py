"""Four requests through the real Envoy and the sidecar to an example provider, and what is known of them afterwards.

python -m examples.demo
"""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import MappingProxyType

import openai
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from examples.bridge import Bridge, NotRunning, is_running
from examples.exchanges import Client, Exchange
from examples.otlp_receiver import Receiver, Span
from examples.provider import ThreadedProvider

ACTOR = "ada"
KEY = "sk-example-0123456789abcdefghij"
SPANS = 30.0  # seconds: Envoy sends its last ones after five
GONE = 5.0
NOTHING: Mapping[str, object] = MappingProxyType({})
# What is shown of a table: what fits a terminal. Interceptions are numbered as they came.
TABLES = {
    "interceptions": "initiator_id, model, status, error_type, http_status",
    "user_prompts": "prompt",
    "token_usages": "input_tokens, cache_read_input_tokens, output_tokens",
    "tool_usages": "kind, tool, input",
    "model_thoughts": "source, content",
}
ATTRIBUTES = {
    "http.status_code": "status",
    "user_id": "actor",
    "gen_ai.usage.input_tokens": "input",
    "gen_ai.usage.output_tokens": "output",
}


class Astray(Exception):
    """Something in the demo is not as it should be; one line says what."""


def main() -> int:
    """Exit status 0 when everything went as it should."""
    console = Console(highlight=False)
    try:
        with tempfile.TemporaryDirectory(prefix="aibridge-demo-") as folder, Receiver() as receiver:
            demo(console, Path(folder), receiver)
    except (Astray, NotRunning, openai.OpenAIError, sqlite3.Error, OSError, ValueError) as error:
        Console(stderr=True).print(Text(f"demo: {error}", style="bold red"), soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def demo(console: Console, folder: Path, receiver: Receiver) -> None:
    """Everything, told on `console`. Raises Astray and what the parts raise."""
    console.print(Text("aibridge-sidecar: four requests, all on this machine\n", style="bold"))
    with ThreadedProvider() as provider:
        _done(console, f"an example provider at {provider.url}, in place of api.openai.com")
        _done(console, f"an OTLP receiver at {receiver.endpoint}, in place of your tracing backend")
        with _started(console, Bridge(folder, _settings(provider.url, receiver.endpoint))) as bridge:
            exchanges, bodies = _exchanged(bridge)
            console.print(_seen(exchanges))
            _forwarded(console, [seen.body for seen in provider.seen[""]], bodies)
            _recorded(console, bridge.database, len(exchanges))
            _traced(console, receiver, len(exchanges))
            _stopped(console, bridge)


def _settings(provider: str, otlp: str) -> str:
    return (
        f'[[providers]]\nname = "openai"\nbase_url = "{provider}/v1"\napi_key = "{KEY}"\n'
        f'[telemetry]\notlp_endpoint = "{otlp}"\nmetrics = ""\n'
        "[limits]\nstart_commit_timeout = 4\nend_commit_timeout = 4"  # whatever else uses this disk
    )


@contextmanager
def _started(console: Console, bridge: Bridge) -> Iterator[Bridge]:
    begun = time.monotonic()
    with ExitStack() as stack:
        with console.status("starting Envoy and the sidecar"):
            stack.enter_context(bridge)
        _done(console, f"Envoy and the sidecar at {bridge.url} (aibridge-sidecar up)", time.monotonic() - begun)
        yield bridge


def _done(console: Console, what: str, took: float | None = None) -> None:
    line = Text.assemble(("✓ ", "bold green"), what)
    console.print(line if took is None else line.append(f"  {took:.1f} s", style="dim"))


def _exchanged(bridge: Bridge) -> tuple[list[Exchange], list[bytes]]:
    client = Client(f"{bridge.url}/openai/v1", ACTOR)
    with closing(client):
        return [exchange() for exchange in client.exchanges()], client.bodies


def _seen(exchanges: Sequence[Exchange]) -> Table:
    """What the client saw."""
    table = _table("What the client saw (the official openai package)", "", "request", "prompt", "status", "answer")
    for number, exchange in enumerate(exchanges, 1):
        table.add_row(str(number), exchange.name, exchange.prompt, str(exchange.status), Text(exchange.answer))
    return table


def _forwarded(console: Console, arrived: Sequence[bytes], sent: Sequence[bytes]) -> None:
    if list(arrived) != list(sent[: len(arrived)]) or len(arrived) != len(sent) - 1:
        msg = "the provider did not get the three request bodies that the client sent, byte for byte"
        raise Astray(msg)
    _done(console, "the provider got the first three, byte for byte as they were sent")


def _recorded(console: Console, database: Path, expected: int) -> None:
    """The journal, read as anybody may."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as journal:
        found = [row[0] for row in journal.execute("SELECT id FROM interceptions ORDER BY id")]
        if len(found) != expected:
            msg = f"the journal has {len(found)} interceptions, not {expected}"
            raise Astray(msg)
        for name, columns in TABLES.items():
            console.print(_rows(journal, name, columns, found))


def _rows(journal: sqlite3.Connection, name: str, columns: str, interceptions: Sequence[str]) -> Table:
    table = _table(f"What is recorded: {name}", "", *columns.split(", "))
    owner = "id" if name == "interceptions" else "interception_id"
    for key, *values in journal.execute(f"SELECT {owner}, {columns} FROM {name} ORDER BY id"):  # noqa: S608 - names from this file
        table.add_row(
            str(interceptions.index(key) + 1),
            *("" if value is None else Text(" ".join(str(value).split())) for value in values),
        )
    return table


def _traced(console: Console, receiver: Receiver, expected: int) -> None:
    with console.status("waiting for the last spans"):
        whole = receiver.wait(lambda spans: _is_whole(spans, expected), SPANS)
    if not whole:
        msg = f"the OTLP receiver had {len(receiver.spans)} spans after {SPANS:g} s, and not {expected} whole trees"
        raise Astray(msg)
    spans = receiver.spans
    tree = Tree(Text(f"What the OTLP receiver got: {len(spans)} spans", style="bold"), guide_style="dim")
    for root in _below(spans, ""):
        _grow(tree, spans, root)
    console.print(tree)


def _is_whole(spans: Sequence[Span], expected: int) -> bool:
    """Whether every span's parent is there, and every interception."""
    known = {span.span_id for span in spans} | {""}
    trees = sum(span.name == "Intercept" for span in spans)
    return trees == expected and all(span.parent_id in known for span in spans)


def _below(spans: Sequence[Span], parent: str) -> Iterator[Span]:
    yield from sorted((span for span in spans if span.parent_id == parent), key=lambda span: (span.start, -span.end))


def _grow(tree: Tree, spans: Sequence[Span], span: Span, told: Mapping[str, object] = NOTHING) -> None:
    """`told`: what the spans above have said already."""
    facts = {shown: span.attributes[name] for name, shown in ATTRIBUTES.items() if name in span.attributes}
    news = " ".join(f"{name}={value}" for name, value in facts.items() if told.get(name) != value)
    line = Text.assemble(
        span.name, (f" {(span.end - span.start) / 1e6:.1f}ms", "dim"), (f" {news}" if news else "", "cyan")
    )
    branch = tree.add(line.append(f" {span.error}", style="red") if span.error else line)
    for child in _below(spans, span.span_id):
        _grow(branch, spans, child, facts | dict(told))


def _stopped(console: Console, bridge: Bridge) -> None:
    processes = bridge.processes()
    begun = time.monotonic()
    status = bridge.stop()
    took = time.monotonic() - begun
    while any(map(is_running, processes)) and time.monotonic() - begun < GONE + took:
        time.sleep(0.05)
    left = [pid for pid in processes if is_running(pid)]
    if status or left:
        msg = f"after SIGTERM: exit status {status}, processes left: {left or 'none'}"
        raise Astray(msg)
    _done(console, f"SIGTERM: exit status 0, all {len(processes)} processes gone", took)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


if __name__ == "__main__":
    sys.exit(main())
