"""The answers we give ourselves. JSON with `code` and `message`, both strings; nothing reaches the provider."""

import msgspec
from msgspec.structs import replace

from sidecar.core.replies import Refuse

# The SDKs retry a 5xx, 408, 409 and 429 unless told that it cannot help.
_NO_RETRY = ("x-should-retry", "false")
_JSON = ("content-type", "application/json")


def refusal(status: int, message: str, *headers: tuple[str, str]) -> Refuse:
    """Return a refusal that a retry cannot change."""
    return _refuse(status, message, _NO_RETRY, *headers)


def unidentified(message: str) -> Refuse:
    """Return the refusal of a request for which nobody is accountable."""
    return replace(refusal(400, message), is_unidentified=True)


def passing(status: int, message: str, *headers: tuple[str, str]) -> Refuse:
    """Return a refusal of a moment: a retry may well help."""
    return _refuse(status, message, *headers)


def _refuse(status: int, message: str, *headers: tuple[str, str]) -> Refuse:
    body = msgspec.json.encode({"code": str(status), "message": message})
    return Refuse(status=status, body=body, headers=(_JSON, *headers))


BACKGROUND = refusal(501, "background requests are currently not supported by AI Bridge")
DENIED = refusal(403, "a policy denies this model to this actor")
NOT_FOUND = refusal(404, "no such route")
TOO_LARGE = refusal(413, "request body too large")
NOT_RECORDED = passing(500, "failed to record interception")
INTERNAL = passing(500, "the request could not be processed")
OVERLOADED = passing(503, "too much to do, try again soon", ("retry-after", "1"))
