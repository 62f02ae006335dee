"""Templates and how a value is written in them. What was recorded is text: it is escaped everywhere."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from sidecar.console import filters
from sidecar.console.money import Tokens
from sidecar.console.timeline import TEXT
from sidecar.core.jsontext import pretty
from sidecar.recorder.usage.dollars import dollars, told

STYLE: Final = "/console.css"
_NAME: Final = 60  # characters of a name that a table shows; a client may choose them
_HERE: Final = Path(__file__).parent


def page(
    name: str, values: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """A template, rendered with these values."""
    html = _TEMPLATES.get_template(name).render(values)
    # A record may hold half of a surrogate pair, which no encoding knows.
    return HTMLResponse(html.encode(errors="replace"), status, headers)


def problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """A page that says why there is no other."""
    return page("problem.html", {"path": "", "text": text, "code": status}, status, headers)


def login(status: int, *, wrong: bool = False, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """The form that asks for the token."""
    return page("login.html", {"wrong": wrong}, status, headers)


def style() -> bytes:
    """The one style sheet."""
    return (_HERE / "static" / "console.css").read_bytes()


def moment(value: datetime) -> str:
    """UTC, to the second."""
    return f"{value:%Y-%m-%d %H:%M:%S}"


def count(value: int) -> str:
    """With commas."""
    return f"{value:,}"


def cost(tokens: Tokens) -> str:
    """What tokens cost as far as it is known; never a guess."""
    known = None if tokens.unknown and tokens.unknown == tokens.answers else tokens.cost
    return told(known, unknown=tokens.unknown > 0)


def seconds(value: float | None) -> str:
    """A length of time."""
    return "" if value is None else f"{value:,.2f} s"


def long(text: str | None) -> str:
    """A text, laid out if it is JSON, and as much of it as is read."""
    if text is None:
        return ""
    return pretty(text) if len(text) <= TEXT else f"{text[:TEXT]}\n… (only the beginning is shown)"


def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(moment=moment, count=count, dollars=dollars, cost=cost, seconds=seconds, long=long)
    made.globals.update(STYLE=STYLE, NAME=_NAME, WINDOWS=tuple(filters.WINDOWS), STATUSES=filters.STATUSES)
    return made


_TEMPLATES: Final = _templates()
