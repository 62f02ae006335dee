"""A dump's file that could not be written once."""

from pathlib import Path

import pytest

from sidecar.telemetry.dumps.names import REQUEST
from sidecar.telemetry.dumps.page import Page
from sidecar.telemetry.dumps.shelf import Shelf

PLACE = ("openai", "m")
NAME = f"019a0000-0000-7000-8000-000000000001{REQUEST}"


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(Shelf(tmp_path, most=2**20, age=9.0, workers=1, now=lambda: 0.0), PLACE, NAME, 2**16)


def test_what_lacks_a_piece_gets_no_more(page: Page, tmp_path: Path) -> None:
    """What goes on behind a gap that nobody sees would mislead."""
    path, aside = tmp_path.joinpath(*PLACE, NAME), tmp_path / "aside"
    page.write("one ")
    path.rename(aside)
    path.symlink_to(aside)
    with pytest.raises(OSError, match="symbolic links"):
        page.write("two ")
    aside.replace(path)
    page.write("three")
    assert path.read_text() == "one "


def test_what_could_not_be_begun_is_not_begun_later(page: Page, tmp_path: Path) -> None:
    place = tmp_path / PLACE[0]
    place.write_text("no folder")
    with pytest.raises(OSError, match="exists"):
        page.write("one ")
    place.unlink()
    page.write("two")
    assert not place.exists()
