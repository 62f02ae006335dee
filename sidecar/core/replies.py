"""What we tell Envoy."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from msgspec import Struct
from pydantic import SecretStr

from sidecar.core.events import NOTHING, Side
from sidecar.core.records import Record

# What of a reply Envoy goes by: the key of a verdict in the dynamic metadata of this name, which RBAC demands and the
# access log shows, and the `response.code_details` of our own answers, which its local replies leave alone.
NAMESPACE: Final = "aibridge.verdict"
DECISION: Final = "decision"
DETAILS: Final = "aibridge_refused"


class Part(Enum):
    """Which message of a side a reply answers."""

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is Python, and this is looked up per chunk

    HEADERS = "headers"
    BODY = "body"
    TRAILERS = "trailers"


class Observe(Enum):
    """How much of what follows Envoy shall show us."""

    ALL = "all"  # as configured
    HEADERS = "headers"  # the response's headers alone: the bodies of a passthrough are nobody's business


class Ack(Struct, frozen=True, kw_only=True):
    """Seen; nothing to change."""

    side: Side
    part: Part


class Forward(Struct, frozen=True, kw_only=True):
    """The verdict that lets a request pass, with the headers it passes with. `notes` reach the access log."""

    part: Part
    set: tuple[tuple[str, str | SecretStr], ...]
    remove: tuple[str, ...]
    observe: Observe = Observe.ALL
    notes: Mapping[str, str] = NOTHING


class Refuse(Struct, frozen=True, kw_only=True):
    """The verdict that stops a request: `body` goes to the client as it stands, nothing goes to the provider."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    is_unidentified: bool = False  # nobody is believed to have asked
    notes: Mapping[str, str] = NOTHING


class Echo(Struct, frozen=True, kw_only=True):
    """A chunk handed back to a proxy that works FULL_DUPLEX_STREAMED."""

    side: Side
    data: bytes
    end: bool


Reply = Ack | Forward | Refuse | Echo


class Wait(Enum):
    """What a step's replies wait for."""

    NOTHING = "nothing"
    START = "start"  # the records' commit, or the interception is told that there is none
    END = "end"  # the records' commit, within a bound: then traffic wins


class Step(Struct, frozen=True, kw_only=True):
    """What one event led to: tell Envoy `replies`, in order, once `records` are as safe as `wait` says."""

    replies: tuple[Reply, ...] = ()
    records: tuple[Record, ...] = ()
    wait: Wait = Wait.NOTHING
