"""Bars over time: where they stand in a picture. The templates draw them as SVG, and say the same in a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sidecar.console.overview import Overview, Usage
from sidecar.console.rendering import count, moment
from sidecar.recorder.usage.dollars import dollars

WIDTH: Final = 600
HEIGHT: Final = 120
_GAP: Final = 0.15  # of a bar's place
_LEAST: Final = 1.0  # high, where there is anything at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar in units of the picture; `label`: what it stands for."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """`name`: also its class in the style sheet; `most`: what the highest bar stands for; `total`: of all of them."""

    name: str
    most: str
    total: str
    bars: Sequence[Bar]


def charts(overview: Overview) -> Sequence[Chart]:
    """The four of the overview."""
    return [
        _chart(overview, "requests", lambda usage: Decimal(usage.requests), _whole),
        _chart(overview, "errors", lambda usage: Decimal(usage.failed), _whole),
        _chart(overview, "tokens", lambda usage: Decimal(usage.tokens.input + usage.tokens.output), _whole),
        _chart(overview, "cost", lambda usage: usage.tokens.cost, dollars),
    ]


def _chart(overview: Overview, name: str, value: Callable[[Usage], Decimal], tell: Callable[[Decimal], str]) -> Chart:
    values = [value(usage) for _, usage in overview.times]
    most, place = max(values), WIDTH / len(values)
    bars = [
        _bar(number * place, place, float(one / most), f"{moment(at)}: {tell(one)}")
        for number, ((at, _), one) in enumerate(zip(overview.times, values, strict=True))
        if one
    ]
    return Chart(name=name, most=tell(most), total=tell(sum(values, Decimal(0))), bars=bars)


def _bar(x: float, place: float, share: float, label: str) -> Bar:
    height = max(round(share * HEIGHT, 2), _LEAST)
    width = round(place * (1 - _GAP), 2)
    return Bar(x=round(x, 2), y=round(HEIGHT - height, 2), width=width, height=height, label=label)


def _whole(value: Decimal) -> str:
    return count(int(value))
