"""What mkdocs does not do by itself: the README as a page, the decisions in the navigation, links out of docs/.

A page has the links that work where the repository is read. What lies outside of docs/ is no part of the site, and
there a link to it is its text alone.
"""

import os
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[2]
_DOCS: Final = ROOT / "docs"
_README: Final = ROOT / "README.md"
_LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> None:
    """Add the decisions to the navigation, so that a new one need not be."""
    decisions = sorted(path.relative_to(_DOCS).as_posix() for path in _DOCS.glob("decisions/*.md"))
    config.nav = [*(config.nav or []), {"Decisions": decisions}]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the README."""
    files.append(File.generated(config, "readme.md", content=_README.read_text()))


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """The page with the site's links."""
    source = _README if page.file.src_uri == "readme.md" else _DOCS / page.file.src_uri
    return linked(markdown, source=source, page=_DOCS / page.file.src_uri)


def linked(markdown: str, *, source: Path, page: Path) -> str:
    """The text of a file `source` with the links that hold where it is `page`."""

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found.groups(default="")
        path = Path(os.path.normpath(source.parent / target))
        path = _DOCS / "readme.md" if path == _README else path
        if not path.is_relative_to(_DOCS) or path.is_dir():
            return text
        return f"[{text}]({os.path.relpath(path, page.parent)}{anchor})"

    return _LINK.sub(link, markdown)
