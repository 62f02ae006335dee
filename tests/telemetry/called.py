"""A call to a provider, for the tests beside."""

from typing import Any

from msgspec.structs import replace

from sidecar.telemetry.traces.calls import Call
from tests.telemetry.interceptions import ENDED, STARTED, TOKENS, T


def call(**changed: Any) -> Call:  # noqa: ANN401 - whatever it has
    """One that went well, with these changes."""
    usual: dict[str, Any] = {
        "started": replace(STARTED, prompt=None),
        "forwarded_at": T + 0.75,
        "tokens": TOKENS,
        "response": "resp_1",
        "asks": False,
        "ended": ENDED,
        "said": (),
    }
    return Call(**(usual | changed))
