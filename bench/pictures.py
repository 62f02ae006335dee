"""Bars, as SVG that a page shows in light and in dark: what a table says, at a glance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from bench.tables import number

_WIDTH: Final = 720
_LABELS: Final = 290  # of the width, left of the bars
_FIGURES: Final = 70  # and right of the longest
_LINE: Final = 24
_STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.bar{fill:#8c959f}.ours{fill:#0969da}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.bar{fill:#6e7681}.ours{fill:#58a6ff}}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One, from nought on. `ours`: it stands for the sidecar."""

    label: str
    value: float
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A chart; `title` says the unit, too."""

    name: str
    title: str
    bars: Sequence[Bar]

    def svg(self) -> str:
        """The picture, with the same in words for who does not see it."""
        height = _LINE * (len(self.bars) + 1) + 8
        words = "; ".join(f"{bar.label}: {number(bar.value)}" for bar in self.bars)
        lines = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
            f"<title>{escape(self.title)}</title><desc>{escape(words)}</desc><style>{_STYLE}</style>",
            f'<text x="0" y="16" font-weight="bold">{escape(self.title)}</text>',
            *self._bars(),
            "</svg>",
        )
        return "\n".join(lines) + "\n"

    def _bars(self) -> Iterator[str]:
        most = max(bar.value for bar in self.bars) or 1.0
        for line, bar in enumerate(self.bars, start=1):
            width = round((_WIDTH - _LABELS - _FIGURES) * bar.value / most, 1)
            y = _LINE * line
            yield f'<text x="{_LABELS - 8}" y="{y + 17}" text-anchor="end">{escape(bar.label)}</text>'
            kind = "ours" if bar.ours else "bar"
            yield f'<rect class="{kind}" x="{_LABELS}" y="{y + 4}" width="{width}" height="16"/>'
            yield f'<text x="{_LABELS + width + 6}" y="{y + 17}">{number(bar.value)}</text>'
