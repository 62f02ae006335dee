"""Which requests there are: a list, not a prefix, so that what costs is recorded and what is not listed is refused."""

import re
from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from sidecar.core.policy import Provider


class Treatment(Enum):
    """What becomes of a listed request."""

    INTERCEPT = "intercept"
    PASS = "pass"  # noqa: S105  the request passes; no password


# Method and path below `/<name>/v1`; `*` is one segment. The paths are the OpenAI API reference's. A wildcard is always
# an even segment (collection/id/collection/id), and a path written out comes before one with a wildcard.
ROUTES: Mapping[str, Mapping[str, Treatment]] = {
    "responses": {"POST": Treatment.INTERCEPT},
    "responses/compact": {"POST": Treatment.INTERCEPT},
    "responses/input_tokens": {"POST": Treatment.PASS},
    "responses/*": {"GET": Treatment.PASS, "DELETE": Treatment.PASS},
    "responses/*/input_items": {"GET": Treatment.PASS},
    "responses/*/cancel": {"POST": Treatment.PASS},
    "models": {"GET": Treatment.PASS},
    "models/*": {"GET": Treatment.PASS},
    "conversations": {"POST": Treatment.PASS},
    "conversations/*": {"GET": Treatment.PASS, "POST": Treatment.PASS, "DELETE": Treatment.PASS},
    "conversations/*/items": {"GET": Treatment.PASS, "POST": Treatment.PASS},
    "conversations/*/items/*": {"GET": Treatment.PASS, "DELETE": Treatment.PASS},
}

# RFC 3986 unreserved characters and those of its delimiters that ids and model names are made of; never a dot segment.
_SEGMENT = r"(?!\.\.?(?:[/?]|\Z))[A-Za-z0-9._~:@=+,-]+"
_TARGET = re.compile(
    rf"(?P<path>/(?P<name>[a-z0-9-]+)/v1/(?P<below>{_SEGMENT}(?:/{_SEGMENT})*))(?:\?[^\x00-\x20#\x7f]*)?",
)


class Route(Struct, frozen=True, kw_only=True):
    """A listed request. `path` is the one the client sent (`/openai/v1/responses`), without its query."""

    provider: Provider
    treatment: Treatment
    path: str

    def url(self) -> str:
        """Where it goes: the base URL with the path below `/<name>/v1`, without the query."""
        return self.provider.base_url + self.path.removeprefix(f"/{self.provider.name}/v1")


class NoRoute(Struct, frozen=True, kw_only=True):
    """Not listed: 404, or 405 where only the method is wrong; then `allow` names the ones that are right."""

    status: int
    allow: tuple[str, ...] = ()


NOT_FOUND = NoRoute(status=404)


def find(method: str, target: str, providers: Mapping[str, Provider]) -> Route | NoRoute:
    """The route of a request by its method and its target, `:path` with the query, as Envoy normalised it.

    A path that is not plain (an escape, a byte of 0x80 or more, `;`, `#`, an empty or a dot segment) is in no list.
    """
    plain = _TARGET.fullmatch(target)
    provider = plain and providers.get(plain["name"])
    methods = plain and _methods(plain["below"])
    if not (plain and provider and methods):
        return NOT_FOUND
    treatment = methods.get(method)
    if treatment is None:
        return NoRoute(status=405, allow=tuple(sorted(methods)))
    return Route(provider=provider, treatment=treatment, path=plain["path"])


def pattern(below: str) -> str | None:
    """The row of `ROUTES` that `below`, a path below `/<name>/v1/`, is in; None: it is not listed."""
    if below in ROUTES:
        return below
    segments = below.split("/")
    segments[1::2] = "*" * (len(segments) // 2)
    found = "/".join(segments)
    return found if found in ROUTES else None


def _methods(below: str) -> Mapping[str, Treatment] | None:
    found = pattern(below)
    return None if found is None else ROUTES[found]
