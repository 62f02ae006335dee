"""What a page is asked for: a span of time and whose interceptions. All of it is in the URL."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlencode

import msgspec
from sqlalchemy import ColumnElement

from sidecar.core.errors import SidecarError
from sidecar.recorder.schema import interceptions

WINDOWS: Final[Mapping[str, timedelta]] = MappingProxyType(
    {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
)
DEFAULT: Final = "24h"
STATUSES: Final = ("completed", "failed", "open")
COLUMNS: Final[Mapping[str, ColumnElement[str]]] = MappingProxyType(
    {
        "actor": interceptions.c.initiator_id,
        "model": interceptions.c.model,
        "client": interceptions.c.client,
        "provider": interceptions.c.provider_name,
    }
)
AFTER: Final = "after"
_KNOWN: Final = frozenset({"since", "until", "window", "status", *COLUMNS})
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_LONGEST: Final = 1024  # characters of a name
T = TypeVar("T")


class BadParameter(SidecarError):
    """Whoever made the URL is at fault: its text names the parameter and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """From `since` up to, not including, `until` (UTC). `window`: what ends now and moves on, None where fixed."""

    since: datetime
    until: datetime
    window: str | None = None
    actor: str | None = None
    model: str | None = None
    client: str | None = None
    provider: str | None = None
    status: str | None = None

    def where(self) -> list[ColumnElement[bool]]:
        """What `interceptions` must satisfy."""
        started, status = interceptions.c.started_at, interceptions.c.status
        limits = [started >= self.since, started < self.until]
        limits += [column == value for name, column in COLUMNS.items() if (value := getattr(self, name)) is not None]
        if self.status is not None:
            limits.append(status.is_(None) if self.status == "open" else status == self.status)
        return limits

    def fixed(self) -> Self:
        """The same span, however late it becomes: further pages belong to the first one."""
        return replace(self, window=None)

    def but(self, **changed: str | None) -> Self:
        """The same with other values; None takes one away."""
        return replace(self, **changed)  # type: ignore[arg-type] # names of filters alone

    def filters(self) -> dict[str, str]:
        """What is asked for beside the span."""
        values = {name: getattr(self, name) for name in (*COLUMNS, "status")}
        return {name: value for name, value in values.items() if value is not None}

    def link(self, path: str, **more: str) -> str:
        """A URL for the same on another page."""
        span = {"window": self.window} if self.window else {"since": _told(self.since), "until": _told(self.until)}
        return f"{path}?{urlencode(span | self.filters() | more)}"


def asked(parameters: Iterable[tuple[str, str]], now: float, also: frozenset[str] = frozenset()) -> Asked:
    """What these parameters of a URL ask for; empty ones do not count. `now`: seconds since the epoch.

    `also`: parameters that the page reads by itself. Raises `BadParameter`.
    """
    given = _once(parameters, _KNOWN | also)
    since, until, window = _span(given, datetime.fromtimestamp(now, UTC))
    status = given.get("status")
    if status not in {None, *STATUSES}:
        raise _bad(name="status", allowed=f"one of {', '.join(STATUSES)}")
    names = {name: _name(name, given.get(name)) for name in COLUMNS}
    return Asked(since=since, until=until, window=window, status=status, **names)


def cursor(parameters: Iterable[tuple[str, str]], kind: type[T]) -> T | None:
    """After what a page begins, as `next_to` wrote it; None for the first. Raises `BadParameter`."""
    written = dict(parameters).get(AFTER)
    if not written:
        return None
    try:
        found = msgspec.json.decode(written, type=kind)
    except msgspec.DecodeError:
        raise _bad(AFTER, "what a link to the next page says") from None
    values: tuple[Any, ...] = found  # type: ignore[assignment] # kinds are tuples that begin with a moment
    if "\0" in "".join(values[1:]) or not _is_moment(values[0]):
        raise _bad(AFTER, "what a link to the next page says")
    return found


def _is_moment(value: datetime) -> bool:
    try:
        return value.tzinfo is not None and value.astimezone(UTC) is not None
    except OverflowError:  # by its offset before the first year, or after the last
        return False


def next_to(*last: datetime | str) -> str:
    """The cursor of the page after this row."""
    return msgspec.json.encode(last).decode()


def _once(parameters: Iterable[tuple[str, str]], known: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            # A filter that is misspelt must not show everybody's.
            raise _bad(name[:40], f"no parameter of this page; there are {', '.join(sorted(known))}")
        if name in found:
            raise _bad(name, "given once")
        found[name] = value
    return {name: value for name, value in found.items() if value}


def _span(given: Mapping[str, str], now: datetime) -> tuple[datetime, datetime, str | None]:
    window = given.get("window", DEFAULT)
    if window not in WINDOWS:
        raise _bad(name="window", allowed=f"one of {', '.join(WINDOWS)}")
    until = _moment("until", given) or now.replace(microsecond=0) + _SECOND
    since = _moment("since", given) or until - WINDOWS[window]
    if since >= until:
        raise _bad(name="since", allowed="a time before until")
    return since, until, None if given.keys() & {"since", "until"} else window


def _moment(name: str, given: Mapping[str, str]) -> datetime | None:
    if (text := given.get(name)) is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        if name == "until" and _DAY.fullmatch(text):
            found += timedelta(days=1)
    except (ValueError, OverflowError):
        found = datetime.min.replace(tzinfo=UTC)
    if not _FIRST <= found <= _LAST:
        raise _bad(name, "YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, UTC, from 2000 to 2100")
    return found


def _name(parameter: str, text: str | None) -> str | None:
    if text is not None and (len(text) > _LONGEST or "\0" in text):
        raise _bad(parameter, f"at most {_LONGEST} characters, none of them NUL")
    return text


def _told(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _bad(name: str, allowed: str) -> BadParameter:
    return BadParameter(f"{name}: expected {allowed}")
