"""Where clients come in: an edge, which believes nothing that they say about us."""

from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    SchemeHeaderTransformation,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerInternalAddressConfig,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    RequestIdExtension,
)
from envoy_data_plane.envoy.extensions.request_id.uuid.v3 import UuidRequestIdConfig

from sidecar.bootstrap import tls
from sidecar.bootstrap.access import access_log
from sidecar.bootstrap.clusters import KEEPALIVE
from sidecar.bootstrap.filters import filters
from sidecar.bootstrap.messages import packed, seconds, tcp
from sidecar.bootstrap.replies import local_replies
from sidecar.bootstrap.routes import routes
from sidecar.bootstrap.tracing import tracing
from sidecar.settings import Settings, host_and_port

STAT_PREFIX = "aibridge"
_HEADERS_KIB = 96
_HEADERS_SECONDS = 10.0


def clients(settings: Settings) -> Listener:
    """The one listener, at `settings.listen`."""
    manager = Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(_connection_manager(settings))
    )
    return Listener(
        name="clients",
        address=tcp(*host_and_port(settings.listen)),
        filter_chains=[FilterChain(filters=[manager], transport_socket=tls.downstream(settings))],
        # As towards providers: a load balancer may forget who is silent, and a silent client that is gone is noticed.
        tcp_keepalive=KEEPALIVE,
        enable_reuse_port=False,  # else a second Envoy would share the port, and half the clients, without a word
    )


def _connection_manager(settings: Settings) -> HttpConnectionManager:
    limits = settings.limits
    return HttpConnectionManager(
        codec_type=HttpConnectionManagerCodecType.AUTO,
        stat_prefix=STAT_PREFIX,
        route_config=routes(settings),
        http_filters=list(filters(settings)),
        tracing=tracing(settings.telemetry) if settings.telemetry.otlp_endpoint else None,
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=seconds(limits.idle_timeout)),
        http_protocol_options=Http1ProtocolOptions(enable_trailers=True),
        http2_protocol_options=Http2ProtocolOptions(max_concurrent_streams=limits.max_concurrent_streams),
        # Providers are told of the connection that they have: some refuse what came by TLS and says "http".
        scheme_header_transformation=SchemeHeaderTransformation(match_upstream=True),
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        max_request_headers_kb=_HEADERS_KIB,
        stream_idle_timeout=seconds(limits.idle_timeout),
        request_timeout=seconds(limits.request_timeout),
        request_headers_timeout=seconds(_HEADERS_SECONDS),
        access_log=[access_log(settings)],
        use_remote_address=True,
        # Who is internal may steer Envoy by x-envoy-*. Nobody is: no connection comes from the broadcast address. (An
        # empty list would stand for all private addresses, loopback among them.)
        internal_address_config=HttpConnectionManagerInternalAddressConfig(
            cidr_ranges=[CidrRange(address_prefix="255.255.255.255", prefix_len=32)]
        ),
        forward_client_cert_details=HttpConnectionManagerForwardClientCertDetails.SANITIZE,
        # The client's request id passes as it is, if it has one; so nothing is packed into it either.
        preserve_external_request_id=True,
        request_id_extension=RequestIdExtension(
            typed_config=packed(UuidRequestIdConfig(pack_trace_reason=False, use_request_id_for_trace_sampling=False))
        ),
        # One spelling of each path, so that none leads past the sidecar's table.
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.REJECT_REQUEST,
        local_reply_config=local_replies(settings),
    )
