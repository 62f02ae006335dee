"""What is decided from a request's headers alone: whether it has a route, an actor and a credential."""

from collections.abc import Mapping

from msgspec import Struct

from sidecar.core import credentials, identity, routes
from sidecar.core.credentials import Credential
from sidecar.core.events import Headers
from sidecar.core.identity import Unidentified
from sidecar.core.policy import Policy
from sidecar.core.refusals import NOT_FOUND, TOO_LARGE, refusal, unidentified
from sidecar.core.replies import Refuse
from sidecar.core.routes import NoRoute, Route, Treatment

_METHOD_NOT_ALLOWED = 405
_SAFELISTED = frozenset({"", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
ANOTHER_PAGE = refusal(403, "a page of another site may not ask: send content-type application/json")


class Admitted(Struct, frozen=True, kw_only=True):
    """A request that may go on: to have its body read, or straight through."""

    headers: Headers
    route: Route
    actor: str
    actor_metadata: Mapping[str, str]
    credential: Credential


def admit(headers: Headers, policy: Policy) -> Admitted | Refuse:
    """Return what the request may go on with, or why it may not, by the first reason that behaviour has for it."""
    route = routes.find(headers.first(":method") or "", headers.first(":path") or "", policy.providers)
    if isinstance(route, NoRoute):
        return _lost(route)
    if route.treatment is Treatment.INTERCEPT and length(headers) > policy.bounds.request_bytes:
        return TOO_LARGE
    if _is_of_another_page(headers):
        return ANOTHER_PAGE
    actor = identity.actor(headers, policy)
    if isinstance(actor, Unidentified):
        return unidentified(actor.message)
    credential = credentials.choose(headers, route.provider, identity_header=policy.identity_header)
    if credential is None:
        return refusal(500, f"no key for provider {route.provider.name}: set providers.api_key or api_key_file")
    more = identity.metadata(headers, policy)
    return Admitted(headers=headers, route=route, actor=actor, actor_metadata=more, credential=credential)


def _is_of_another_page(headers: Headers) -> bool:
    """Whether a browser says that a page of another site sends this, in the only ways that need nobody's leave.

    Whoever has the browser open would pay for it. (Fetch, sections 2.2.2 and 4.8: CORS-safelisted types, preflight.)
    """
    site = headers.first("sec-fetch-site")  # said over TLS and to loopback; `origin` always
    is_another = site == "cross-site" or (site is None and headers.first("origin") is not None)
    if not is_another or headers.first(":method") != "POST":
        return False
    return (headers.first("content-type") or "").partition(";")[0].strip().lower() in _SAFELISTED


def length(headers: Headers) -> int:
    """Return what `content-length` announces, in bytes; 0 where it announces nothing."""
    return headers.count("content-length") or 0


def _lost(route: NoRoute) -> Refuse:
    if route.status == _METHOD_NOT_ALLOWED:
        return refusal(405, "method not allowed", ("allow", ", ".join(route.allow)))
    return NOT_FOUND
