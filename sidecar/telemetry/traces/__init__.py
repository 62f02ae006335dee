"""What the server tells about a request, and the null objects for when nobody listens.

Nothing here knows OpenTelemetry: who leaves traces off does not even import it.
"""

import re
from collections.abc import Sequence
from typing import Protocol

from sidecar.core.records import Record


class Trace(Protocol):
    """What is to be seen of one request."""

    def observe(self, records: Sequence[Record], committed_at: float | None) -> None:
        """`records`, in their order, durable since `committed_at` (seconds since the epoch).

        None: not stored at all (`Forwarded`, `Passed`), or not known to be stored. Never raises, never blocks.
        """


class Traces(Protocol):
    """Where traces begin."""

    def begin(self, traceparent: str | None, tracestate: str | None = None) -> Trace | None:
        """A trace under the caller's span, as the W3C Trace Context headers name it; without a valid one, a new root.

        None where nobody wants it. Never raises, never blocks.
        """

    def close(self, timeout: float) -> None:
        """Send what is waiting, for at most `timeout` seconds; blocks so long, never raises. Safe to call twice."""


_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-|\Z)")
_UNSAMPLED = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")


def trace_id(traceparent: str | None) -> str | None:
    """The trace that a `traceparent` names (W3C Trace Context, 3.2), 32 hexadecimal digits; None without one."""
    found = _TRACEPARENT.match(traceparent or "")
    return found[1] if found else None


def is_unsampled(traceparent: str) -> bool:
    """Whether the caller says that its trace is not kept (W3C Trace Context, 3.2.2.5), in the version that Envoy has.

    A short way, since most requests may be such; of other versions the SDK knows what to make.
    """
    return _UNSAMPLED.fullmatch(traceparent) is not None


class NoTraces:
    """Traces are off."""

    __slots__ = ()

    def begin(self, traceparent: str | None, tracestate: str | None = None) -> None:
        """Nobody wants it."""

    def close(self, timeout: float) -> None:
        """Nothing to send."""
