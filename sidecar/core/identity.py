"""Who asks: by a header, by a token's claims, by a certificate or by a key, as `policy.source` says.

Only the first is in a client's hands, and it is believed from `policy.trusted` addresses, where these are set. The
others come from Envoy, which has proved them: claims as dynamic metadata, certificates as attributes of the connection,
a key's owner in a header that Envoy overwrites.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from sidecar.core.events import Headers
from sidecar.core.policy import Networks, Policy, Source
from sidecar.core.text import clean

CLIENT_HEADER = "x-ai-bridge-actor-client"  # where Envoy says whose key it was; of the names that never go upstream
JWT_FILTER, CLAIMS = "envoy.filters.http.jwt_authn", "aibridge"  # the metadata's namespace, and the claims' key in it
ADDRESS = "source.address"
URI, DNS = "connection.uri_san_peer_certificate", "connection.dns_san_peer_certificate"
_SPIFFE = "spiffe://"  # SPIFFE-ID, section 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Unidentified:
    """Nobody is accountable for this request: it is refused with 400 and `message`."""

    message: str


NOBODY = Unidentified(message="no actor found")


def actor(headers: Headers, policy: Policy) -> str | Unidentified:
    """Who asks, trimmed and clean. Without what names them nobody does, unless the source is a header with a default.

    Only the header's exact name counts; `x_forwarded_user` is neither an identity nor a second one. A header that is
    there but blank is an authenticating filter that found nobody, so no default stands in for it.
    """
    match policy.source:
        case Source.HEADER:
            return _by_header(headers, policy)
        case Source.API_KEY:
            return _sent_once(headers, CLIENT_HEADER, "")
        case Source.JWT:
            claimed = headers.claims.get(policy.claim)
            name = claimed if isinstance(claimed, str) else ""  # a number is not exact here, and might be two people
        case _:
            uri = headers.attributes.get(URI, "")
            name = uri if uri.startswith(_SPIFFE) else headers.attributes.get(DNS, "")
    return clean(name.strip()) or NOBODY


def metadata(headers: Headers, policy: Policy) -> Mapping[str, str]:
    """What else the token says of the actor, as `policy.metadata_claims` want it: text as it is, the rest as JSON."""
    if policy.source is not Source.JWT:
        return {}
    found = {name: _text(headers.claims.get(name)) for name in policy.metadata_claims}
    return {name: text for name, text in found.items() if text}


def _by_header(headers: Headers, policy: Policy) -> str | Unidentified:
    if policy.trusted and not _is_within(headers.attributes.get(ADDRESS, ""), policy.trusted):
        return Unidentified(message=f"{policy.identity_header} is not believed from this address")
    return _sent_once(headers, policy.identity_header, policy.default_actor)


def _sent_once(headers: Headers, header: str, default: str) -> str | Unidentified:
    found = headers.all(header.lower())
    if len(found) > 1:
        return Unidentified(message=f"more than one actor found: {header} must be sent once")
    name = found[0] if found else default
    return clean(name.strip()) or NOBODY


def _is_within(address: str, networks: Networks) -> bool:
    """Whether the host of `address` (with its port, IPv6 in brackets) is in one of them."""
    try:
        host = ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:  # a Unix socket, or nothing
        return False
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped:
        host = host.ipv4_mapped
    return any(host in network for network in networks)


def _text(claim: object) -> str:
    if claim is None or isinstance(claim, str):
        return clean((claim or "").strip())
    whole = int(claim) if isinstance(claim, float) and claim.is_integer() else claim  # protobuf has no other numbers
    return clean(msgspec.json.encode(whole).decode())
