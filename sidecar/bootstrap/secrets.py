"""What Envoy reads of secrets: files of its own in the runtime directory's `secrets`, looked at again when one changes.

Envoy logs such a file, at `debug`, when it has read it; so what is secret is in another one, which that only names.
"""

import json
from pathlib import Path

from betterproto2 import Casing, Message
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    DataSource,
    PathConfigSource,
    TypedExtensionConfig,
    WatchedDirectory,
)
from envoy_data_plane.envoy.extensions.filters.http.credential_injector.v3 import CredentialInjector
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.injected_credentials.generic.v3 import Generic
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    GenericSecret,
    SdsSecretConfig,
    Secret,
    TlsCertificate,
)
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse

from sidecar.bootstrap.messages import http_filter, packed
from sidecar.core import credentials
from sidecar.settings import Provider, Settings

CERTIFICATE = "certificate"
CLIENT_AUTHORITIES = "client-authorities"


def file(settings: Settings, name: str) -> Path:
    """Where Envoy finds the secret of that name."""
    return settings.secrets / f"{name}.json"


def source(settings: Settings, name: str) -> SdsSecretConfig:
    """The secret of that name, as others refer to it."""
    path = PathConfigSource(path=str(file(settings, name)))
    return SdsSecretConfig(
        name=name, sds_config=ConfigSource(path_config_source=path, resource_api_version=ApiVersion.V3)
    )


def injector(settings: Settings, provider: Provider) -> HttpFilter:
    """What adds the central key, on the way to the provider alone: no filter before sees it, nor does the router's log.

    A client's own key stands in its place already, and stays; where none may, nothing does.
    """
    takes_own = provider.byok and settings.identity_header != "authorization"
    generic = Generic(credential=source(settings, _name(provider)), header=provider.auth_header)
    return http_filter(
        "credential_injector",
        CredentialInjector(
            overwrite=not takes_own,
            credential=TypedExtensionConfig(
                name="envoy.http.injected_credentials.generic", typed_config=packed(generic)
            ),
        ),
    )


def key(settings: Settings, provider: Provider) -> dict[Path, str]:
    """The files with a provider's central key: by path, in the order in which to write them."""
    name = _name(provider)
    text = settings.secrets / f"{name}.key"
    value = credentials.value(provider.auth_header, provider.api_key) if provider.api_key else None
    secret = GenericSecret(secret=DataSource(filename=str(text)))
    return {
        text: value.get_secret_value() if value else "",
        file(settings, name): _response(Secret(name=name, generic_secret=secret)),
    }


def certificates(settings: Settings) -> dict[Path, str]:
    """The files that say where what clients are shown is, and what theirs are judged by. By path.

    Written anew, what they name is read anew.
    """
    tls, found = settings.tls, dict[Path, str]()
    if tls.cert_file:
        own = TlsCertificate(
            certificate_chain=DataSource(filename=str(tls.cert_file)),
            private_key=DataSource(filename=str(tls.key_file)),
            watched_directory=WatchedDirectory(path=str(settings.secrets)),
        )
        found[file(settings, CERTIFICATE)] = _response(Secret(name=CERTIFICATE, tls_certificate=own))
    return found | (_authorities(settings, CLIENT_AUTHORITIES, tls.client_ca_file) if tls.client_ca_file else {})


def authorities(provider: Provider) -> str:
    """The name of what a provider is judged by that has authorities of its own."""
    return f"{_name(provider)}-authorities"


def providers_authorities(settings: Settings, provider: Provider) -> dict[Path, str]:
    """Likewise the file that says where that is."""
    return _authorities(settings, authorities(provider), provider.ca_file)


def _authorities(settings: Settings, name: str, pem: Path | None) -> dict[Path, str]:
    known = CertificateValidationContext(
        trusted_ca=DataSource(filename=str(pem)), watched_directory=WatchedDirectory(path=str(settings.secrets))
    )
    return {file(settings, name): _response(Secret(name=name, validation_context=known))}


def _name(provider: Provider) -> str:
    return f"provider-{provider.name}"


def _response(resource: Message) -> str:
    return json.dumps(DiscoveryResponse(resources=[packed(resource)]).to_dict(casing=Casing.SNAKE))
