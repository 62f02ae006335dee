"""The style sheet's colours against what they stand on, by WCAG 2.2 (1.4.3 text, 1.4.11 controls and pictures)."""

import re
from collections.abc import Mapping

import pytest

from sidecar.console.rendering import style

BLOCKS = re.findall(r":root \{(.*?)\}", style().decode(), re.DOTALL)
THEMES = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in BLOCKS]


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["back", "panel"])
@pytest.mark.parametrize(
    ("colour", "least"),
    [("text", 4.5), ("quiet", 4.5), ("link", 4.5), ("bad", 4.5), ("requests", 3), ("tokens", 3), ("cost", 3)],
)
def test_colours_stand_out(theme: Mapping[str, str], ground: str, colour: str, least: float) -> None:
    low, high = sorted((luminance(theme[colour]), luminance(theme[ground])))
    assert (high + 0.05) / (low + 0.05) >= least


def test_there_are_two_themes() -> None:
    assert len(THEMES) == 2
