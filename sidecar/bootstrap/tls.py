"""TLS to others: their certificate must be theirs, by name and by authority. And TLS for clients."""

from collections.abc import Sequence
from pathlib import Path

from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    DownstreamTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from sidecar.bootstrap import secrets
from sidecar.bootstrap.messages import packed
from sidecar.settings import Provider, Settings, has_authorities
from sidecar.settings.checks import is_ip
from sidecar.settings.parts import CERTIFICATE, CLIENT_AUTHORITIES, authorities

# Where Debian keeps them; `load` has found the system's own unless this is the rendering of the bare defaults.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def upstream(settings: Settings, provider: Provider) -> TransportSocket:
    """TLS to a provider."""
    if not has_authorities(provider):
        return client(provider.host, provider.ca_file)
    known = CommonTlsContextCombinedCertificateValidationContext(
        default_validation_context=_named(provider.host),
        validation_context_sds_secret_config=secrets.source(settings, authorities(provider)),
    )
    return _client(provider.host, CommonTlsContext(tls_params=_versions(), combined_validation_context=known))


def downstream(settings: Settings) -> TransportSocket | None:
    """TLS for clients, who must show a certificate where there is an authority for these; None: plain TCP."""
    if settings.tls.cert_file is None:
        return None
    known = settings.tls.client_ca_file
    context = DownstreamTlsContext(
        require_client_certificate=True if known else None,
        common_tls_context=CommonTlsContext(
            tls_params=_versions(),
            tls_certificate_sds_secret_configs=[secrets.source(settings, CERTIFICATE)],
            validation_context_sds_secret_config=(secrets.source(settings, CLIENT_AUTHORITIES) if known else None),
            alpn_protocols=["h2", "http/1.1"],
        ),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def certificate(chain: Path | None, key: Path | None) -> list[TlsCertificate]:
    """The one in the PEM files; none where there are none."""
    if chain is None:
        return []
    return [
        TlsCertificate(certificate_chain=DataSource(filename=str(chain)), private_key=DataSource(filename=str(key)))
    ]


def client(
    host: str, authorities: Path | None, own: Sequence[TlsCertificate] = (), alpn: Sequence[str] = ()
) -> TransportSocket:
    """TLS to `host`, a name or an IP address, by the certificate authorities in the PEM file `authorities`.

    `own`: what is shown to who asks for a certificate. `alpn`: what to speak, of those who ask (RFC 7301).
    """
    known = _named(host)
    known.trusted_ca = DataSource(filename=str(authorities or _AUTHORITIES))
    common = CommonTlsContext(
        tls_params=_versions(), tls_certificates=list(own), validation_context=known, alpn_protocols=list(alpn)
    )
    return _client(host, common)


def _client(host: str, common: CommonTlsContext) -> TransportSocket:
    # RFC 6066, section 3: no literal addresses.
    context = UpstreamTlsContext(sni="" if is_ip(host) else host, common_tls_context=common)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def _named(host: str) -> CertificateValidationContext:
    kind = SubjectAltNameMatcherSanType.IP_ADDRESS if is_ip(host) else SubjectAltNameMatcherSanType.DNS
    name = SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=host))
    return CertificateValidationContext(match_typed_subject_alt_names=[name])


def _versions() -> TlsParameters:
    """Nothing older than 1.2 (RFC 8996); said here, so that no default of Envoy's counts."""
    return TlsParameters(
        tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
        tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
    )
