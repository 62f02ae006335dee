"""What the probe found, for a terminal."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from sidecar.probe.asks import Seen
from sidecar.probe.facts import Facts, tokens

_EXCERPT = 40  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One request: whether what was seen is right, and what is wrong with its record, a line each."""

    name: str
    seen: Seen
    right: bool
    record: Facts | None
    faults: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether answer and record are as they should be."""
        return self.right and not self.faults


def table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """What was asked, what came back, and what is recorded of it."""
    shown = Table(title=_printable(title))
    for heading in ("asked", "came back", "its record"):
        shown.add_column(heading, overflow="fold")
    for outcome in outcomes:
        record = outcome.faults or tuple(_kept(outcome.record))
        shown.add_row(
            outcome.name, _mark(_told(outcome.seen), good=outcome.right), _mark(record, good=not outcome.faults)
        )
    shown.caption = f"{sum(outcome.good for outcome in outcomes)} of {len(outcomes)} as they should be"
    return shown


def _told(seen: Seen) -> Iterator[str]:
    response = seen.response
    if seen.error:
        yield seen.error
    if response is None:
        return
    if response.output_text:
        yield _excerpt(response.output_text)
    for call in seen.calls:
        yield f"{call.name} {_excerpt(call.arguments)}"
    yield _counted(tokens(response.usage)) if response.usage else "no usage"


def _kept(record: Facts | None) -> Iterator[str]:
    if record is None:
        return
    yield f"{record.status}: {record.error_type}" if record.error_type else record.status
    for name, _, value in record.tools:
        yield f"{name} {_excerpt(json.dumps(value))}"
    if record.tokens:
        yield _counted(record.tokens)


def _counted(count: tuple[int, ...]) -> str:
    fresh, output, read, written = count
    return f"{fresh} in, {read} cached, {output} out" + (f", {written} to the cache" if written else "")


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


def _mark(lines: Iterator[str] | tuple[str, ...], *, good: bool) -> Text:
    """With a sign before them."""
    text = "\n  ".join(lines)
    return _printable(f"✓ {text}", style="green") if good else _printable(f"✗ {text}", style="red")


def _printable(text: str, style: str = "") -> Text:
    """As Text, so that brackets are no markup; what could steer a terminal is replaced."""
    plain = (character if character.isprintable() or character == "\n" else "\ufffd" for character in text)
    return Text("".join(plain), style=style)
