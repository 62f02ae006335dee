"""The site, really built."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generate.site import linked
from tests.docs.pages import ROOT

LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^\">]*", re.IGNORECASE)
IMPORTED = re.compile(r"(?:@import|url\()[\s\"']*(?:https?:)?//[^\"')]*", re.IGNORECASE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Strictly: a warning, e.g. of a page that is not in the navigation, is a failure; --quiet would hide them."""
    folder = tmp_path_factory.mktemp("site")
    told = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return folder


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert pages | {Path("readme.html")} <= {path.relative_to(site) for path in site.rglob("*.html")}


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = {found for page in site.rglob("*.html") for found in LOADED.findall(page.read_text())}
    imported = {found for sheet in site.rglob("*.css") for found in IMPORTED.findall(sheet.read_text())}
    assert loaded | imported == set()


def test_no_code_is_on_the_site(site: Path) -> None:
    assert [path for path in site.rglob("*") if path.suffix in {".py", ".pyc"}] == []


@pytest.mark.parametrize(
    ("source", "page", "link", "there"),
    [
        ("README.md", "docs/readme.md", "[x](docs/a.md#b)", "[x](a.md#b)"),
        ("docs/d/e.md", "docs/d/e.md", "[x](../../README.md#b)", "[x](../readme.md#b)"),
        ("docs/a.md", "docs/a.md", "[x](../deploy/Containerfile)", "x"),
        ("docs/a.md", "docs/a.md", "[x](https://example.com) [y](#z)", "[x](https://example.com) [y](#z)"),
    ],
)
def test_links_hold_on_the_site(source: str, page: str, link: str, there: str) -> None:
    assert linked(link, source=ROOT / source, page=ROOT / page) == there
