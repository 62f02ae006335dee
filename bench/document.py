"""The report: a Markdown page whose words are somebody's, and whose figures stand between marks and are replaced."""

import datetime as dt
import re
from collections.abc import Sequence
from pathlib import Path

from bench.pictures import Picture
from bench.ratios import circumstances
from bench.tables import Table


def written(
    document: Path, section: str, tables: Sequence[Table], verdicts: Sequence[str], pictures: Sequence[Picture] = ()
) -> None:
    """Have a section's pictures, tables and verdicts between its marks, the pictures themselves beside the page.

    Raises ValueError where the page has no such marks.
    """
    page, shown = document.read_text(encoding="utf-8"), ""
    for picture in pictures:
        file = document.with_name(f"{document.stem}-{picture.name}.svg")
        file.write_text(picture.svg(), encoding="utf-8")
        shown += f"![{picture.title}]({file.name})\n\n"
    text = shown + figures(tables, verdicts)
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not found.search(page):
        msg = f"{document}: no place for {section}"
        raise ValueError(msg)
    document.write_text(found.sub(lambda _: f"{begin}\n\n{text}\n{end}", page), encoding="utf-8")


def figures(tables: Sequence[Table], verdicts: Sequence[str]) -> str:
    """What was found, as Markdown, with the day and the machine."""
    told = "".join(f"- {verdict}\n" for verdict in verdicts)
    parts = (*(table.markdown() for table in tables), *([told] if told else []))
    return "\n".join((*parts, f"Measured {dt.datetime.now(dt.UTC):%Y-%m-%d} on {circumstances()}.\n"))
