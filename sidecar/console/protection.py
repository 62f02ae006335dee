"""Who may see the pages, and what their browser may do with them. Every request comes through here first."""

import secrets
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.console import rendering
from sidecar.console.guesses import Guesses
from sidecar.settings import Console, host_and_port
from sidecar.settings.checks import is_loopback

COOKIE: Final = "aibridge-console"
LOGIN: Final = "/login"
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_READING: Final = frozenset({"GET", "HEAD"})
_LONGEST: Final = 8192  # bytes of a form that brings a token


class Protection:
    """Lets through who may see the pages, and answers everybody else itself."""

    def __init__(self, app: ASGIApp, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        """`app`: what is protected; `now`: monotonic seconds."""
        self._app = app
        self._token = console.token.get_secret_value().encode() if console.token else None
        # Of one process: the browser never keeps the token, and a restart makes everybody log in again.
        self._cookie = secrets.token_urlsafe(32)
        self._guesses = Guesses()
        self._now = now
        self._by_name = not console.token and not console.behind_proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        request = Request(scope, receive)
        answer = await self._refused(request) or self._app
        await answer(scope, receive, guarded)

    async def _refused(self, request: Request) -> Response | None:
        is_login = request.url.path == LOGIN and self._token is not None
        if request.method not in _READING and not (is_login and request.method == "POST"):
            return rendering.problem(405, "These pages can only be read.", {"allow": "GET, HEAD"})
        if self._by_name and not _is_local(request.headers):
            return rendering.problem(403, "Host: expected a name of this machine's loopback, such as localhost.")
        if is_login:
            return await self._login(request)
        if request.url.path == rendering.STYLE or self._has_cookie(request.headers):
            return None
        if token := _bearer(request.headers):
            return self._wrong(token)
        return rendering.login(401, headers={"www-authenticate": "Bearer"})

    async def _login(self, request: Request) -> Response:
        if request.method in _READING:
            return rendering.login(200)
        if wrong := self._wrong(await _given(request)):
            return wrong
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(COOKIE, self._cookie, httponly=True, samesite="strict")
        return response

    def _wrong(self, token: str) -> Response | None:
        """The answer to a wrong token; while too many were wrong, to any: else it would tell which is right."""
        if wait := self._guesses.wait(self._now()):
            text = f"Too many wrong tokens came, of whomever: try again in {wait} s."
            return rendering.problem(429, text, {"retry-after": str(wait)})
        if self._is_token(token):
            return None
        self._guesses.miss(self._now())
        return rendering.login(401, wrong=True, headers={"www-authenticate": "Bearer"})

    def _has_cookie(self, headers: Headers) -> bool:
        return self._token is None or secrets.compare_digest(_cookie(headers).encode(), self._cookie.encode())

    def _is_token(self, given: str) -> bool:
        # A header is read as Latin-1, a form as UTF-8; the token is ASCII.
        return self._token is not None and secrets.compare_digest(given.encode(errors="replace"), self._token)


async def _given(request: Request) -> str:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST:
            return ""
    return dict(parse_qsl(body.decode(errors="replace"))).get("token", "")


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _is_local(headers: Headers) -> bool:
    """A page elsewhere may have its own name lead here (DNS rebinding): only the name tells it from the user."""
    host = headers.get("host", "").lower()
    try:
        name = host_and_port(host)[0] if _has_port(host) else host.strip("[]")
    except ValueError:
        return False
    return is_loopback(name)


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]
