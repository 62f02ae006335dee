"""Who asks."""

from dataclasses import dataclass

from sidecar.core.events import Headers
from sidecar.core.policy import Policy
from sidecar.core.text import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Unidentified:
    """Nobody is accountable for this request: it is refused with 400 and `message`."""

    message: str


NOBODY = Unidentified(message="no actor found")


def actor(headers: Headers, policy: Policy) -> str | Unidentified:
    """What the identity header says, trimmed and clean; without that header the default actor, if there is one.

    Only its exact name counts; `x_forwarded_user` is neither an identity nor a second one. A header that is there but
    blank is an authenticating filter that found nobody, so no default stands in for it.
    """
    found = headers.all(policy.identity_header.lower())
    if len(found) > 1:
        return Unidentified(message=f"more than one actor found: {policy.identity_header} must be sent once")
    name = found[0] if found else policy.default_actor
    return clean(name.strip()) or NOBODY
