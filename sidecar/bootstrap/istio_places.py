"""Where in a mesh an Envoy asks us, and what cannot be had there.

In a program's pod the program speaks with its own Envoy, so there is no certificate; and that Envoy may start before
us, when the file of keys that it needs for its listener is not there yet. In a gateway all the mesh's pods ask.
"""

from collections.abc import Iterator
from typing import Final, Literal

from sidecar.core.errors import BadSetting
from sidecar.settings import Settings
from sidecar.settings.refusals import line

Place = Literal["sidecar", "gateway"]

_REFUSED: Final[dict[tuple[Place, str], str]] = {
    ("sidecar", "mtls"): "header or jwt for --at sidecar: no program shows its own Envoy a certificate",
    ("sidecar", "api_key"): "header or jwt for --at sidecar: its Envoy may start before the file of keys is there",
}
_BELIEVED = "true for --at gateway, or identity.trusted_cidrs, or another identity.source: any pod can write the header"


def possible(settings: Settings, place: Place) -> None:
    """Raise BadSetting for who asks, and whose key, as no Envoy there can know it."""
    for key, value, allowed in _impossible(settings, place):
        raise BadSetting(line(key, value, f"allowed: {allowed}"))


def _impossible(settings: Settings, place: Place) -> Iterator[tuple[str, object, str]]:
    chosen = settings.identity
    if settings.credentials.inject_by == "envoy":
        yield "credentials.inject_by", "envoy", "sidecar, in a mesh, whose Envoys have no file of the key"
    if allowed := _REFUSED.get((place, chosen.source)):
        yield "identity.source", chosen.source, allowed
    if (place, chosen.source) == ("gateway", "header") and not (chosen.trust_header or chosen.trusted_cidrs):
        yield "identity.trust_header", chosen.trust_header, _BELIEVED
