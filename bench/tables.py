"""Tables and figures, for a terminal and for Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.box import SIMPLE
from rich.table import Table as Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What was measured. Every column but those without a heading is of figures."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As GitHub's Markdown has it."""
        ruler = tuple("---:" if name else "---" for name in self.head)
        lines = (self.head, ruler, *self.rows)
        return f"### {self.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

    def shown(self) -> Shown:
        """For a terminal."""
        found = Shown(title=self.title, box=SIMPLE)
        for name in self.head:
            found.add_column(name, justify="right" if name else "left")
        for row in self.rows:
            found.add_row(*row)
        return found


def number(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def ratio(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{median(values):.2f} ({min(values):.2f}, {max(values):.2f})"
