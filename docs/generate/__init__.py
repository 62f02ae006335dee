"""The pages in docs/reference, made of the code and the contract that they describe: `python -m docs.generate`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docs.generate import data, recorder, settings

ROOT: Final = Path(__file__).parents[2]
_PAGES: Final = {"settings": settings.page, "data": data.page, "recorder": recorder.page}


def generated() -> Iterator[tuple[Path, str]]:
    """Every page that is made, with what belongs in it."""
    for name, page in _PAGES.items():
        yield ROOT / f"docs/reference/{name}.md", page()
