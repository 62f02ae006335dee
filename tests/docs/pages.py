"""Markdown files as GitHub shows them: their headings' anchors, and their links."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def pages() -> list[Path]:
    """Every page that people read."""
    found = (path for folder in ("docs", "deploy", "envoy") for path in (ROOT / folder).rglob("*.md"))
    return sorted([*ROOT.glob("*.md"), *found])


def anchors(text: str) -> set[str]:
    """What a heading can be linked by: lower case, dashes for blanks, a number where it is there already."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def links(text: str) -> Iterator[str]:
    """The links to elsewhere in the repository, anchors included."""
    for target in _LINK.findall(_CODE.sub("", _COMMENT.sub("", _FENCE.sub("", text)))):
        if not re.match(r"\w+:", target):
            yield target


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere."""
    return [target for target in links(text) if not _leads(page, target)]


def _leads(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.is_relative_to(ROOT) or not there.exists():
        return False
    return not anchor or anchor in anchors(there.read_text())
