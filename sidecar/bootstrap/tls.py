"""TLS to others: their certificate must be theirs, by name and by authority."""

from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from sidecar.bootstrap.messages import packed
from sidecar.settings import Provider
from sidecar.settings.checks import is_ip

# Where Debian keeps them; `load` has found the system's own unless this is the rendering of the bare defaults.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def upstream(provider: Provider) -> TransportSocket:
    """TLS to a provider."""
    return client(provider.host, str(provider.ca_file or _AUTHORITIES))


def client(host: str, authorities: str = _AUTHORITIES) -> TransportSocket:
    """TLS to `host`, a name or an IP address, by the certificate authorities in the PEM file `authorities`."""
    kind = SubjectAltNameMatcherSanType.IP_ADDRESS if is_ip(host) else SubjectAltNameMatcherSanType.DNS
    name = SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=host))
    context = UpstreamTlsContext(
        sni="" if is_ip(host) else host,  # RFC 6066, section 3: no literal addresses
        common_tls_context=CommonTlsContext(
            validation_context=CertificateValidationContext(
                trusted_ca=DataSource(filename=authorities), match_typed_subject_alt_names=[name]
            )
        ),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))
