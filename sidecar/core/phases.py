"""The table of what may come next: the one place that knows the order of things.

      request headers            READ               RECORDED                response headers
START ──────────────▶ REQUEST ─────────▶ RECORDING ──────────▶ FORWARDED ───────────────────▶ RESPONSE
  │                    ▲  │ │                │                 ▲    │                          ▲  │ │
  │       request body └──┘ │ ── PASSED ─────│─────────────────┘    │            response body └──┘ │
  │                         │                │                      │                               │
  │ response headers        │ REFUSED        │ ENDED                │ REFUSED, ENDED                │ ENDED
  ▼                         ▼                ▼                      ▼                               ▼
DONE ◀──────────────────────────────────────────────────────────────────────────────────────────────┘
"""

from enum import Enum

from sidecar.core.errors import OutOfOrder
from sidecar.core.events import Body, Event, Headers, Recorded, Side, Trailers


class Phase(Enum):
    """Where an interception stands."""

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is Python, and this is looked up per chunk

    START = "start"
    REQUEST = "request"
    RECORDING = "recording"
    FORWARDED = "forwarded"
    RESPONSE = "response"
    DONE = "done"


class Sign(Enum):
    """What can happen: Envoy's six messages, the journal's answer, and what we ourselves decide."""

    __hash__ = object.__hash__  # as above

    REQUEST_HEADERS = "request headers"
    REQUEST_BODY = "request body"
    REQUEST_TRAILERS = "request trailers"
    RESPONSE_HEADERS = "response headers"
    RESPONSE_BODY = "response body"
    RESPONSE_TRAILERS = "response trailers"
    RECORDED = "the journal's answer"
    READ = "the request was read"
    PASSED = "a passthrough verdict"
    REFUSED = "a refusal"
    ENDED = "the end"


TRANSITIONS: dict[Phase, dict[Sign, Phase]] = {
    Phase.START: {
        Sign.REQUEST_HEADERS: Phase.REQUEST,
        # Envoy refused the request by itself before it showed us any of it (an upgrade, say).
        Sign.RESPONSE_HEADERS: Phase.DONE,
        Sign.ENDED: Phase.DONE,
    },
    Phase.REQUEST: {
        Sign.REQUEST_BODY: Phase.REQUEST,
        Sign.REQUEST_TRAILERS: Phase.REQUEST,
        Sign.READ: Phase.RECORDING,
        Sign.PASSED: Phase.FORWARDED,
        Sign.REFUSED: Phase.DONE,
        # Envoy gave up on the upload: too large, or too slow.
        Sign.RESPONSE_HEADERS: Phase.DONE,
        Sign.ENDED: Phase.DONE,
    },
    Phase.RECORDING: {Sign.RECORDED: Phase.FORWARDED, Sign.ENDED: Phase.DONE},
    Phase.FORWARDED: {
        Sign.REFUSED: Phase.DONE,
        Sign.ENDED: Phase.DONE,
        # A passthrough's body, where a proxy shows it all the same.
        Sign.REQUEST_BODY: Phase.FORWARDED,
        Sign.REQUEST_TRAILERS: Phase.FORWARDED,
        Sign.RESPONSE_HEADERS: Phase.RESPONSE,
    },
    Phase.RESPONSE: {
        Sign.REQUEST_BODY: Phase.RESPONSE,
        Sign.REQUEST_TRAILERS: Phase.RESPONSE,
        Sign.RESPONSE_BODY: Phase.RESPONSE,
        Sign.RESPONSE_TRAILERS: Phase.RESPONSE,
        Sign.ENDED: Phase.DONE,
    },
    # What still comes has been settled already; it is answered and forgotten.
    Phase.DONE: dict.fromkeys(
        (
            Sign.REQUEST_BODY,
            Sign.REQUEST_TRAILERS,
            Sign.RESPONSE_HEADERS,
            Sign.RESPONSE_BODY,
            Sign.RESPONSE_TRAILERS,
            Sign.ENDED,
        ),
        Phase.DONE,
    ),
}


_SIGNS: dict[tuple[type[Event], Side], Sign] = {
    (Headers, Side.REQUEST): Sign.REQUEST_HEADERS,
    (Body, Side.REQUEST): Sign.REQUEST_BODY,
    (Trailers, Side.REQUEST): Sign.REQUEST_TRAILERS,
    (Headers, Side.RESPONSE): Sign.RESPONSE_HEADERS,
    (Body, Side.RESPONSE): Sign.RESPONSE_BODY,
    (Trailers, Side.RESPONSE): Sign.RESPONSE_TRAILERS,
}


def sign(event: Event) -> Sign:
    """Return the sign that `event` is."""
    return Sign.RECORDED if isinstance(event, Recorded) else _SIGNS[type(event), event.side]


def after(phase: Phase, happened: Sign) -> Phase:
    """Return the phase that follows `phase` when `happened`; raises OutOfOrder when it cannot."""
    try:
        return TRANSITIONS[phase][happened]
    except KeyError:
        msg = f"{happened.value} cannot follow in phase {phase.value}"
        raise OutOfOrder(msg) from None
