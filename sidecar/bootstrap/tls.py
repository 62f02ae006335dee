"""TLS to others: their certificate must be theirs, by name and by authority. And TLS for clients."""

from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    DownstreamTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from sidecar.bootstrap.messages import packed
from sidecar.settings import Provider, Tls
from sidecar.settings.checks import is_ip

# Where Debian keeps them; `load` has found the system's own unless this is the rendering of the bare defaults.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def upstream(provider: Provider) -> TransportSocket:
    """TLS to a provider."""
    return client(provider.host, str(provider.ca_file or _AUTHORITIES))


def downstream(settings: Tls) -> TransportSocket | None:
    """TLS for clients, who must show a certificate where there is an authority for these; None: plain TCP."""
    if settings.cert_file is None:
        return None
    own = TlsCertificate(
        certificate_chain=DataSource(filename=str(settings.cert_file)),
        private_key=DataSource(filename=str(settings.key_file)),
    )
    known = settings.client_ca_file
    validation = CertificateValidationContext(trusted_ca=DataSource(filename=str(known))) if known else None
    context = DownstreamTlsContext(
        require_client_certificate=True if known else None,
        common_tls_context=CommonTlsContext(
            tls_params=TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2),
            tls_certificates=[own],
            validation_context=validation,
            alpn_protocols=["h2", "http/1.1"],
        ),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


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
