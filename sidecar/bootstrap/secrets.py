"""Where Envoy finds secrets: in files of the runtime directory's `secrets`, looked at again when one changes.

What is in these: `sidecar/secrets/`.
"""

from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    PathConfigSource,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.filters.http.credential_injector.v3 import CredentialInjector
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.injected_credentials.generic.v3 import Generic
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import SdsSecretConfig

from sidecar.bootstrap.messages import http_filter, packed
from sidecar.settings import Provider, Settings
from sidecar.settings.parts import central_key


def source(settings: Settings, name: str) -> SdsSecretConfig:
    """The secret of that name, as others refer to it."""
    path = PathConfigSource(path=str(settings.secret(name)))
    return SdsSecretConfig(
        name=name, sds_config=ConfigSource(path_config_source=path, resource_api_version=ApiVersion.V3)
    )


def injector(settings: Settings, provider: Provider) -> HttpFilter:
    """What adds the central key, on the way to the provider alone: no filter before sees it, nor does the router's log.

    A client's own key stands in its place already, and stays; where none may, nothing does.
    """
    takes_own = provider.byok and settings.identity_header != "authorization"
    generic = Generic(credential=source(settings, central_key(provider)), header=provider.auth_header)
    return http_filter(
        "credential_injector",
        CredentialInjector(
            overwrite=not takes_own,
            credential=TypedExtensionConfig(
                name="envoy.http.injected_credentials.generic", typed_config=packed(generic)
            ),
        ),
    )
