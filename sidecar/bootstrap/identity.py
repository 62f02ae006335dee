"""What proves who asks, before the sidecar is asked: a token or a key by a filter, a certificate by TLS.

Keys are in no bootstrap: Envoy takes them as they are and not hashed, so their filter is configured by a file of its
own (the runtime directory's `client-keys.json`), which Envoy reads again when another takes its place.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from betterproto2 import Casing, Message
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    DataSource,
    ExtensionConfigSource,
    HttpUri,
    PathConfigSource,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.route.v3 import RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.api_key_auth.v3 import ApiKeyAuth
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwksAsyncFetch,
    JwtAuthentication,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    JwtRequirementOrList,
    RemoteJwks,
    RequirementRule,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse

from sidecar.bootstrap import tls
from sidecar.bootstrap.clusters import elsewhere
from sidecar.bootstrap.messages import http_filter, packed, seconds
from sidecar.core.identity import ADDRESS, CLAIMS, DNS, JWT_FILTER, URI
from sidecar.settings import Issuer, Settings
from sidecar.settings.checks import server
from sidecar.settings.parts import KEYS_FILTER

# By source: the filters that refuse by themselves, which Envoy's own answers do without.
FILTERS: Final = {"header": (), "jwt": ("jwt_authn",), "mtls": (), "api_key": ("api_key_auth",)}


def filters(settings: Settings) -> Iterator[HttpFilter]:
    """What refuses with 401 who cannot prove who asks."""
    match settings.identity.source:
        case "jwt" if any(issuer.jwks_file for issuer in settings.issuers):
            yield _by_file(JWT_FILTER, settings.issuer_keys, JwtAuthentication())
        case "jwt":
            yield tokens(settings)
        case "api_key":
            yield _by_file(KEYS_FILTER, settings.client_keys, ApiKeyAuth())


def tokens(settings: Settings) -> HttpFilter:
    """The filter for tokens with all keys from files in it, for an Envoy that has none of these files."""
    return http_filter("jwt_authn", _tokens(settings))


def _by_file(name: str, path: Path, kind: Message) -> HttpFilter:
    """A filter whose configuration is read anew when another file takes the place of `path`."""
    source = ConfigSource(path_config_source=PathConfigSource(path=str(path)), resource_api_version=ApiVersion.V3)
    kinds = [packed(kind).type_url]
    return HttpFilter(name=name, config_discovery=ExtensionConfigSource(config_source=source, type_urls=kinds))


def attributes(settings: Settings) -> list[str]:
    """What the sidecar is told of the connection."""
    if settings.identity.source == "mtls":
        return [URI, DNS]
    return [ADDRESS] if settings.identity.trusted_cidrs else []


def namespaces(settings: Settings) -> list[str]:
    """What the sidecar is told of what other filters found."""
    return [JWT_FILTER] if settings.identity.source == "jwt" else []


def issuer_keys(settings: Settings) -> str:
    """The file with the filter for tokens, issuers' keys from files in it, as Envoy reads it."""
    return _file(JWT_FILTER, _tokens(settings))


def _file(name: str, config: Message) -> str:
    resource = packed(TypedExtensionConfig(name=name, typed_config=packed(config)))
    return json.dumps(DiscoveryResponse(resources=[resource]).to_dict(casing=Casing.SNAKE))


def clusters(settings: Settings) -> Iterator[Cluster]:
    """Where issuers' keys are fetched."""
    for index, issuer in enumerate(settings.issuers):
        if issuer.jwks_url:
            yield _cluster(_name(index), issuer)


def _name(index: int) -> str:
    return f"issuer-{index}"


def _cluster(name: str, issuer: Issuer) -> Cluster:
    host, port = server(issuer.jwks_url)
    is_secured = issuer.jwks_url.startswith("https:")
    return elsewhere(name, host, port, tls.client(host, issuer.ca_file) if is_secured else None)


def _tokens(settings: Settings) -> JwtAuthentication:
    """Every request needs a token of one of the issuers."""
    providers = {_name(index): _issuer(settings, index, issuer) for index, issuer in enumerate(settings.issuers)}
    each = [JwtRequirement(provider_name=name) for name in providers]
    one_of_them = each[0] if len(each) == 1 else JwtRequirement(requires_any=JwtRequirementOrList(requirements=each))
    rule = RequirementRule(match=RouteMatch(prefix="/"), requires=one_of_them)
    return JwtAuthentication(providers=providers, rules=[rule])


def _issuer(settings: Settings, index: int, issuer: Issuer) -> JwtProvider:
    header = settings.identity.token_header
    return JwtProvider(
        issuer=issuer.issuer,
        audiences=list(issuer.audiences),
        require_expiration=True,  # else a token without an end would be good for ever
        local_jwks=DataSource(inline_string=issuer.jwks_file.read_text("utf-8")) if issuer.jwks_file else None,
        remote_jwks=_remote(_name(index), issuer) if issuer.jwks_url else None,
        from_headers=[JwtHeader(name=header, value_prefix="Bearer " if header == "authorization" else "")],
        payload_in_metadata=CLAIMS,
    )


def _remote(cluster: str, issuer: Issuer) -> RemoteJwks:
    """Fetched before the first client is served, if the issuer answers by then, and again every ten minutes."""
    return RemoteJwks(
        http_uri=HttpUri(uri=issuer.jwks_url, cluster=cluster, timeout=seconds(5)),
        cache_duration=seconds(600),
        async_fetch=JwksAsyncFetch(failed_refetch_duration=seconds(1)),
    )
