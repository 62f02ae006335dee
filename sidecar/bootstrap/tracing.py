"""Envoy's own spans, above the sidecar's: exported where the sidecar's go and as they do, only where that is set."""

from collections.abc import Iterator

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
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
from sidecar.bootstrap.clusters import elsewhere, options
from sidecar.bootstrap.filters import CLIENT_PATH
from sidecar.bootstrap.messages import OTLP, overwritten, packed, seconds
from sidecar.settings import Telemetry
from sidecar.settings.checks import server
from sidecar.settings.otel import Way

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
    host, port = server(telemetry.otlp_endpoint)
    if telemetry.protocol == "grpc":
        config = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    else:
        config = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    is_secured = telemetry.otlp_endpoint.startswith("https:")
    cluster = elsewhere(OTLP, host, port, _tls(host, telemetry) if is_secured else None)
    cluster.connect_timeout = seconds(1)
    cluster.wait_for_warm_on_init = False  # a name that nobody finds costs spans, not requests
    cluster.typed_extension_protocol_options = options(HttpProtocolOptions(explicit_http_config=config))
    return cluster


def _tls(host: str, telemetry: Telemetry) -> TransportSocket:
    way = telemetry.otel.way("traces")
    own = tls.certificate(way.cert_file, way.key_file)
    # gRPC's servers talk to nobody who has not asked for HTTP/2.
    return tls.client(host, way.ca_file, own, alpn=("h2",) if telemetry.protocol == "grpc" else ())


def _exporter(telemetry: Telemetry) -> OpenTelemetryConfig:
    way = telemetry.otel.way("traces")
    if telemetry.protocol == "grpc":
        service = GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=OTLP),
            timeout=seconds(way.timeout),
            initial_metadata=list(_headers(way)),
        )
        return OpenTelemetryConfig(service_name=_SERVICE, grpc_service=service)
    uri = HttpUri(uri=telemetry.url("traces"), cluster=OTLP, timeout=seconds(way.timeout))
    added = [overwritten(header.key, header.value) for header in _headers(way)]
    return OpenTelemetryConfig(
        service_name=_SERVICE, http_service=HttpService(http_uri=uri, request_headers_to_add=added)
    )


def _headers(way: Way) -> Iterator[HeaderValue]:
    for name, value in way.headers.items():
        # Envoy reads commands between percent signs.
        yield HeaderValue(key=name, value=value.get_secret_value().replace("%", "%%"))
