from collections.abc import Iterable, Sequence

_NOTE = "<!-- Made by `python -m docs.generate`, from {source}: change that, not this. -->"


def table(*heads: str, rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown. A bar within a cell is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def code(text: str) -> str:
    """As code, or nothing for nothing."""
    return f"`{text}`" if text else ""


def whole(title: str, *parts: str, source: str) -> str:
    """A page of these parts, an empty line between them."""
    return "\n\n".join([f"# {title}", _NOTE.format(source=source), *(part.strip() for part in parts)]) + "\n"
