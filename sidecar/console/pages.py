"""The pages: what a URL asks for, asked of the store and shown."""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial, wraps
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sidecar.console import filters, listing, rendering, sessions
from sidecar.console.charts import HEIGHT, WIDTH, charts
from sidecar.console.filters import AFTER, Asked, BadParameter, asked, cursor, next_to
from sidecar.console.overview import overview
from sidecar.console.protection import Protection
from sidecar.console.store import Store, TooMuch
from sidecar.console.timeline import timeline
from sidecar.core.errors import SidecarError
from sidecar.recorder.usage import prices
from sidecar.settings import Settings

log = structlog.get_logger()

_AROUND: Final = timedelta(days=1)  # of an interception: the span in which its session is shown
_PAGED: Final = frozenset({AFTER})
_Page = Callable[["Pages", Request], Awaitable[Response]]


def application(settings: Settings) -> Starlette:
    """All of it, protected."""
    pages = Pages(Store(settings))
    routes = [
        Route("/", pages.overview),
        Route("/interceptions", pages.interceptions),
        Route("/interceptions/{id}", pages.interception),
        Route("/sessions", pages.sessions),
        Route("/session", pages.session),
        Route(rendering.STYLE, pages.style),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Protection, settings.console)],
        exception_handlers={404: _nothing},
    )


def _page(page: _Page) -> _Page:
    """Have what goes wrong told on a page: never with a stack, never with what was asked for in a log."""

    @wraps(page)
    async def told(self: "Pages", request: Request) -> Response:
        try:
            return await page(self, request)
        except BadParameter as error:
            return rendering.problem(400, str(error))
        except TooMuch as error:
            return rendering.problem(503, f"{error}: ask for a shorter span of time or fewer names")
        except SidecarError as error:
            log.warning("no page", error=str(error))
            return rendering.problem(503, f"The records cannot be read now: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold what was recorded
            log.error("no page", error=type(error).__name__)  # noqa: TRY400 - for the same reason
            return rendering.problem(500, "The page could not be made; the console's log names the error.")

    return told


class Pages:
    """One method a page."""

    def __init__(self, store: Store) -> None:
        """`store`: what they ask."""
        self._store = store

    @_page
    async def overview(self, request: Request) -> Response:
        """What a span of time comes to."""
        span = asked(request.query_params.multi_items(), time.time())
        found = await self._store.ask(partial(overview, asked=span))
        picture = {"charts": charts(found), "width": WIDTH, "height": HEIGHT}
        return rendering.page("overview.html", {"path": "/", "asked": span, "overview": found, **picture, **_prices()})

    @_page
    async def interceptions(self, request: Request) -> Response:
        """The newest first, a page at a time."""
        given = request.query_params.multi_items()
        span, after = asked(given, time.time(), _PAGED), cursor(given, listing.Place)
        found = await self._store.ask(partial(listing.newest, asked=span, after=after))
        further = _further(span, "/interceptions", found.after)
        values = {"path": "/interceptions", "asked": span, "rows": found.rows, "further": further}
        return rendering.page("interceptions.html", values)

    @_page
    async def sessions(self, request: Request) -> Response:
        """The last active first, a page at a time."""
        given = request.query_params.multi_items()
        span, after = asked(given, time.time(), _PAGED), cursor(given, sessions.Place)
        found = await self._store.ask(partial(sessions.sessions, asked=span, after=after))
        further = _further(span, "/sessions", found.after)
        values = {"path": "/sessions", "asked": span, "rows": found.rows, "further": further}
        return rendering.page("sessions.html", values)

    @_page
    async def session(self, request: Request) -> Response:
        """The interceptions of one, in their order."""
        given = request.query_params.multi_items()
        span, after = asked(given, time.time(), _PAGED | {"session"}), cursor(given, listing.Place)
        name = request.query_params.get("session", "")
        if not name or span.actor is None or "\0" in name:
            msg = "session: expected the name of a session, and actor: whose it is"
            raise BadParameter(msg)
        found = await self._store.ask(partial(listing.in_order, asked=span, session=name, after=after))
        further = _further(span, "/session", found.after, session=name)
        values = {"path": "/session", "asked": span, "session": name, "rows": found.rows, "further": further}
        return rendering.page("session.html", values)

    @_page
    async def interception(self, request: Request) -> Response:
        """One, with all that belongs to it."""
        identity = request.path_params["id"]
        found = None if "\0" in identity else await self._store.ask(partial(timeline, interception=identity))
        if found is None:
            return rendering.problem(404, "There is no such interception.")
        at, actor = found.row.started_at, found.row.initiator_id
        around = Asked(since=at - _AROUND, until=at + _AROUND, actor=actor)
        values = {"path": "", "timeline": found, "row": found.row, "around": around, **_prices()}
        return rendering.page("interception.html", values)

    async def style(self, _: Request) -> Response:
        """How they look."""
        return Response(rendering.style(), media_type="text/css")


def _further(span: filters.Asked, path: str, place: listing.Place | sessions.Place | None, **more: str) -> str | None:
    return span.fixed().link(path, after=next_to(*place), **more) if place else None


def _prices() -> dict[str, object]:
    return {"source": prices.source(), "price_date": prices.date()}


async def _nothing(_: Request, __: Exception) -> Response:
    return rendering.problem(404, "There is no such page.")
