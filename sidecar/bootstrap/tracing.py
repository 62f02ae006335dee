"""Envoy's own spans, above the sidecar's: exported where the sidecar's go and as they do, only where that is set."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, ClusterDnsLookupFamily
from envoy_data_plane.envoy.config.core.v3 import (
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HeaderValue,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpService,
    HttpUri,
    TransportSocket,
)
from envoy_data_plane.envoy.config.trace.v3 import OpenTelemetryConfig, TracingHttp
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManagerTracing
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.tracing.v3 import CustomTag
from envoy_data_plane.envoy.type.v3 import Percent

from sidecar.bootstrap import tls
from sidecar.bootstrap.filters import CLIENT_PATH
from sidecar.bootstrap.messages import OTLP, endpoints, overwritten, packed, seconds, tcp
from sidecar.settings import Telemetry
from sidecar.settings.checks import is_ip
from sidecar.settings.otel import Way

# OTLP's registered ports (IANA: opentelemetry), HTTP's with TLS or a path of its own aside.
_PORTS = {"grpc": 4317, "http": 4318}
_SERVICE = "aibridge-envoy"


def tracing(telemetry: Telemetry) -> HttpConnectionManagerTracing:
    """Every request is traced, and ext_proc's call carries the trace on to the sidecar."""
    return HttpConnectionManagerTracing(
        random_sampling=Percent(value=100.0),
        spawn_upstream_span=True,
        # In place of Envoy's own tag, which has the query, and in that whatever a client puts there.
        custom_tags=[CustomTag(tag="http.url", value=CLIENT_PATH)],
        provider=TracingHttp(name="envoy.tracers.opentelemetry", typed_config=packed(_exporter(telemetry))),
    )


def collector(telemetry: Telemetry) -> Cluster:
    """Where spans go."""
    url = urlsplit(telemetry.otlp_endpoint)
    host, port = url.hostname or "", url.port or _PORTS[telemetry.protocol]
    if telemetry.protocol == "grpc":
        config = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    else:
        config = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    options = HttpProtocolOptions(explicit_http_config=config)
    return Cluster(
        name=OTLP,
        type=ClusterDiscoveryType.STATIC if is_ip(host) else ClusterDiscoveryType.STRICT_DNS,
        dns_lookup_family=ClusterDnsLookupFamily.AUTO if is_ip(host) else ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=seconds(1),
        wait_for_warm_on_init=False,  # a name that nobody finds costs spans, not requests
        load_assignment=endpoints(OTLP, tcp(host, port)),
        typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(options)},
        transport_socket=_tls(host, telemetry) if url.scheme == "https" else None,
    )


def _tls(host: str, telemetry: Telemetry) -> TransportSocket:
    way = telemetry.otel.traces
    authorities = {} if way.ca_file is None else {"authorities": str(way.ca_file)}
    own = tls.certificate(way.cert_file, way.key_file)
    # gRPC's servers talk to nobody who has not asked for HTTP/2.
    return tls.client(host, **authorities, own=own, alpn=("h2",) if telemetry.protocol == "grpc" else ())


def _exporter(telemetry: Telemetry) -> OpenTelemetryConfig:
    way = telemetry.otel.traces
    if telemetry.protocol == "grpc":
        service = GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=OTLP),
            timeout=seconds(way.timeout),
            initial_metadata=list(_headers(way)),
        )
        return OpenTelemetryConfig(service_name=_SERVICE, grpc_service=service)
    uri = HttpUri(uri=telemetry.traces_url, cluster=OTLP, timeout=seconds(way.timeout))
    added = [overwritten(header.key, header.value) for header in _headers(way)]
    return OpenTelemetryConfig(
        service_name=_SERVICE, http_service=HttpService(http_uri=uri, request_headers_to_add=added)
    )


def _headers(way: Way) -> Iterator[HeaderValue]:
    for name, value in way.headers.items():
        # Envoy reads commands between percent signs.
        yield HeaderValue(key=name, value=value.get_secret_value().replace("%", "%%"))
