"""What the records add up to, for whoever asks: from whichever store they are in, for a program or a terminal."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import NotRequired, cast

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import func, select

from sidecar.recorder import reading, usage
from sidecar.recorder.schema import interceptions
from sidecar.recorder.usage import COUNTS, Count, Prices, Totals, Usage, dollars
from sidecar.recorder.usage.sums import GROUPINGS, Grouping
from sidecar.settings import Settings

_NAMES = 10  # characters at least, for a day


class Report(Totals):
    """The totals, as `--json` prints them.

    `not_forwarded`: interceptions in the local journal, which the store has not yet, or not as they ended. Missing
    where the journal is the store, or on another machine.
    """

    not_forwarded: NotRequired[int]


def totals(settings: Settings, since: str | None = None, until: str | None = None) -> Report:
    """Usage of what started from `since` to `until`: days (`YYYY-MM-DD`) in UTC, both included, None for no limit.

    What the store holds, all of it at one moment; neither does it wait for who writes nor they for it. Raises
    `BadSetting` for what is no day, `JournalUnavailable`, `StoreUnavailable`.
    """
    first, last = reading.days(since, until)
    # First: what is forwarded meanwhile is then told twice rather than not at all.
    left = _left(settings) if settings.is_forwarded and settings.database.is_file() else None
    report = cast("Report", _totals(settings, first, last))
    if left is not None:
        report["not_forwarded"] = left
    return report


def table(report: Report) -> Group:
    """The same for a terminal, one table a grouping. What in a name could steer a terminal is replaced."""
    shown: list[RenderableType] = [_table(grouping, report[grouping], report["total"]) for grouping in GROUPINGS]
    shown.append(_prices(report["prices"]))
    if left := report.get("not_forwarded"):
        shown.append(Text(f"In the local journal, not yet forwarded: {left:,}"))
    return Group(*shown)


def _totals(settings: Settings, first: date | None, last: date | None) -> Totals:
    if settings.recorder.kind == "service":
        from sidecar.recorder.service.remote import RemoteStore  # noqa: PLC0415 - gRPC, for one kind of store alone

        store = RemoteStore(settings.recorder)
        try:
            return store.totals(first, last)
        finally:
            store.close()
    with reading.store(settings) as engine, engine.connect() as connection:
        return usage.totals(connection, first, last)


def _left(settings: Settings) -> int:
    with reading.journal(settings.database) as engine, engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(interceptions)) or 0


def _table(grouping: Grouping, lines: Sequence[Usage], whole: Usage) -> Table:
    # Without room around, so that ten columns fit into 80 characters.
    shown = Table(show_footer=True, padding=0)
    shown.add_column(grouping, footer="total", overflow="fold", min_width=_NAMES)
    for count in COUNTS:
        shown.add_column(_heading(count), footer=f"{whole[count]:,}", justify="right", overflow="fold")
    shown.add_column("cost", footer=_cost(whole), justify="right", overflow="fold")
    for line in lines:
        shown.add_row(_printable(line["name"]), *(f"{line[count]:,}" for count in COUNTS), _cost(line))
    return shown


def _cost(line: Usage) -> str:
    known = line["cost"]
    return dollars.told(None if known is None else Decimal(known), unknown=line["unpriced"] != 0)


def _prices(prices: Prices | None) -> Text:
    if prices is None:
        return Text("Costs are unknown: the Recorder service tells none.")
    checked = f", checked up to {prices['date']}" if prices["date"] else ""
    return _printable(f"Costs in US dollars by the prices of {prices['source']}{checked}; unknown where it has none.")


def _heading(count: Count) -> str:
    return count.removesuffix("_tokens").removesuffix("_input").replace("_", " ")


def _printable(name: str) -> Text:
    # As Text: brackets in a name are no markup.
    return Text("".join(character if character.isprintable() else "\ufffd" for character in name))
