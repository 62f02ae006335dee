"""What the core decides by: the settings it needs, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType

from pydantic import SecretStr

from sidecar.core.permissions import Permission

Networks = tuple[IPv4Network | IPv6Network, ...]


class Source(StrEnum):
    """What says who asks."""

    HEADER = "header"
    JWT = "jwt"
    MTLS = "mtls"
    API_KEY = "api_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One configured provider. `base_url` has no trailing slash; `api_key` None: none configured, or none we know.

    `hint`: of a central key that Envoy adds by itself, and that we do not know; empty: there is none.
    """

    name: str
    type: str
    base_url: str
    api_key: SecretStr | None = None
    hint: str = ""
    auth_header: str = "authorization"
    byok: bool = True
    send_actor_headers: bool = False
    pass_cookies: bool = False
    extra_headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)  # may hold keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Sizes in bytes, times in seconds."""

    request_bytes: int = 33_554_432
    response_bytes: int = 67_108_864  # decoded, as far as it is read
    event_bytes: int = 8_388_608
    recorded_bytes: int = 1_048_576
    request_timeout: float = 600.0  # of a request that does not stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything an interception needs to know about its surroundings. `providers` by name.

    `identity_header`: what names the actor, or proves who it is; never sent on, and nobody's key for a provider.
    `trusted`: where it is believed from; empty: everywhere. `claim`, `metadata_claims`: of a token.
    """

    providers: Mapping[str, Provider]
    source: Source = Source.HEADER
    identity_header: str = "x-forwarded-user"
    default_actor: str = ""
    trusted: Networks = ()
    claim: str = "sub"
    metadata_claims: tuple[str, ...] = ()
    permissions: tuple[Permission, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
