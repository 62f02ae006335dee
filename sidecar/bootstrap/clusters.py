"""Whom Envoy talks to: the sidecar's workers, and hosts elsewhere, of which providers are most of what is said here."""

from collections.abc import Iterator
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCommonLbConfig,
    ClusterCustomClusterType,
    ClusterDiscoveryType,
    ClusterLbPolicy,
    UpstreamConnectionOptions,
    UpstreamConnectionOptionsFirstAddressFamilyVersion,
    UpstreamConnectionOptionsHappyEyeballsConfig,
)
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    BindConfig,
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    Pipe,
    SocketOption,
    SocketOptionSocketState,
    TcpKeepalive,
    TransportSocket,
)
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions as CommonHttpProtocolOptions
from envoy_data_plane.envoy.extensions.clusters.common.dns.v3 import DnsLookupFamily
from envoy_data_plane.envoy.extensions.clusters.dns.v3 import DnsCluster
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsAutoHttpConfig,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from sidecar.bootstrap import secrets, tls
from sidecar.bootstrap.messages import SIDECAR, endpoints, http_filter, packed, resolver, seconds, tcp
from sidecar.settings import Provider, Settings
from sidecar.settings.checks import is_ip

# Calls to a model are long, so many are open at once; Envoy's default of 1,024 would turn the next one away. What
# bounds them is the listener's connections and the sidecar's `max_inflight_bytes`.
_MANY = 100_000
# Frames that wait for a socket to take them. By default Envoy ends a connection where 10,000 do, or 1,000 that end
# streams: so it guards itself against clients that do not read. A worker may be busy, and all streams are on one.
_ANY = 2**32 - 1
# After so many seconds of silence on a connection: whether the other side is there, so often, so many times.
_SILENCE, _INTERVAL, _PROBES = 30, 10, 3
KEEPALIVE: Final = TcpKeepalive(keepalive_time=_SILENCE, keepalive_interval=_INTERVAL, keepalive_probes=_PROBES)
# All requests to a provider may be on one connection. Where the way to it is gone without a word, TCP would try for
# some 15 minutes, and every new request would join them. (HTTP/2's own pings wait behind what is being sent: over a
# slow line they would end every large upload.)
# So it is given up where nothing that was sent is acknowledged, or the other side takes nothing more, for as long as
# all probes take, and no less: Linux goes by this instead of their number, and the loss of one would do.
_TCP, _USER_TIMEOUT = 6, 18  # IPPROTO_TCP and TCP_USER_TIMEOUT of Linux, in milliseconds: tcp(7)
_GIVEN_UP = SocketOption(
    level=_TCP,
    name=_USER_TIMEOUT,
    int_value=1000 * (_SILENCE + _INTERVAL * _PROBES),
    state=SocketOptionSocketState.STATE_PREBIND,
)
# Of a name's addresses: the one that connects, IPv4 before IPv6, each next one 0.3 s later.
_V4_FIRST = UpstreamConnectionOptionsHappyEyeballsConfig(
    first_address_family_version=UpstreamConnectionOptionsFirstAddressFamilyVersion.V4, first_address_family_count=1
)
# Envoy's default, 100, would lose an answer that is paid.
_ANSWERS = CommonHttpProtocolOptions(max_headers_count=1000)
_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster_name(provider: Provider) -> str:
    """The cluster of a provider."""
    return f"provider-{provider.name}"


def provider(settings: Settings, chosen: Provider) -> Cluster:
    """A provider: by TLS with HTTP/2 where it offers that, or by plain HTTP/1.1."""
    cluster = elsewhere(
        cluster_name(chosen), chosen.host, chosen.port, tls.upstream(settings, chosen) if chosen.tls else None
    )
    cluster.circuit_breakers = _breakers()
    cluster.typed_extension_protocol_options = options(_provider_options(settings, chosen))
    return cluster


def elsewhere(name: str, host: str, port: int, secured: TransportSocket | None) -> Cluster:
    """One host, an IP address or a name, over TCP: looked up, connected to and given up as every other."""
    numeric = is_ip(host)
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC if numeric else None,
        cluster_type=None if numeric else _by_name(),
        connect_timeout=seconds(5),
        load_assignment=endpoints(name, tcp(host, port)),
        # A model may think for minutes; what is between must not forget the connection.
        upstream_connection_options=UpstreamConnectionOptions(tcp_keepalive=KEEPALIVE, happy_eyeballs_config=_V4_FIRST),
        upstream_bind_config=BindConfig(socket_options=[_GIVEN_UP]),
        transport_socket=secured,
    )


def sidecar(settings: Settings) -> Cluster:
    """The workers, each on its Unix socket; streams go to the one with the fewest, never to one that is not healthy."""
    sockets = (Address(pipe=Pipe(path=str(settings.socket(index)))) for index in range(settings.workers))
    return Cluster(
        name=SIDECAR,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=seconds(0.5),
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        circuit_breakers=_breakers(),
        common_lb_config=ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=0)),
        health_checks=[_health_check()],
        load_assignment=endpoints(SIDECAR, *sockets),
        typed_extension_protocol_options=options(
            HttpProtocolOptions(
                explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
                    http2_protocol_options=Http2ProtocolOptions(
                        max_outbound_frames=_ANY, max_outbound_control_frames=_ANY
                    )
                )
            )
        ),
    )


def _health_check() -> HealthCheck:
    return HealthCheck(
        timeout=seconds(2),  # a worker may be reading a big body for half a second
        interval=seconds(1),
        no_traffic_interval=seconds(1),
        unhealthy_interval=seconds(0.25),  # found soon after a start
        unhealthy_threshold=2,
        healthy_threshold=1,
        grpc_health_check=HealthCheckGrpcHealthCheck(),
    )


def _by_name() -> ClusterCustomClusterType:
    """One endpoint, whichever of its addresses is asked; its name is looked up again when its record says so.

    From Envoy 1.39 on each change in the order of the addresses makes for new connections, and many servers change it
    at every answer.
    """
    found = DnsCluster(
        respect_dns_ttl=True,
        typed_dns_resolver_config=resolver(),
        dns_lookup_family=DnsLookupFamily.ALL,
        all_addresses_in_single_endpoint=True,
    )
    return ClusterCustomClusterType(name="envoy.cluster.dns", typed_config=packed(found))


def _breakers() -> CircuitBreakers:
    limits = CircuitBreakersThresholds(
        max_connections=_MANY, max_pending_requests=_MANY, max_requests=_MANY, max_retries=_MANY
    )
    return CircuitBreakers(thresholds=[limits])


def options(config: HttpProtocolOptions) -> dict[str, Any]:
    """How HTTP is spoken, as a cluster has it."""
    return {_PROTOCOL_OPTIONS: packed(config)}


def _provider_options(settings: Settings, chosen: Provider) -> HttpProtocolOptions:
    http1, filters = Http1ProtocolOptions(enable_trailers=True), list(_last_hop(settings, chosen))
    if chosen.tls:
        auto = HttpProtocolOptionsAutoHttpConfig(
            http_protocol_options=http1, http2_protocol_options=Http2ProtocolOptions()
        )
        return HttpProtocolOptions(auto_config=auto, http_filters=filters, common_http_protocol_options=_ANSWERS)
    explicit = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=http1)
    return HttpProtocolOptions(
        explicit_http_config=explicit, http_filters=filters, common_http_protocol_options=_ANSWERS
    )


def _last_hop(settings: Settings, chosen: Provider) -> Iterator[HttpFilter]:
    """Without what the router and the tracer add after the sidecar has looked; with the key that is Envoy's to add.

    And without trailers, at which it never looks.
    """
    names = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "traceparent", "tracestate", "baggage")
    envoy = StringMatcher(prefix="x-envoy-")
    everything = StringMatcher(safe_regex=RegexMatcher(regex=".*"))
    mutations = Mutations(
        request_mutations=[*(Mutation(remove=name) for name in names), _removal(envoy)],
        request_trailers_mutations=[_removal(everything)],
    )
    yield http_filter("header_mutation", HeaderMutation(mutations=mutations))
    if settings.is_injected(chosen):
        yield secrets.injector(settings, chosen)
    yield http_filter("upstream_codec", UpstreamCodec())


def _removal(matcher: StringMatcher) -> Mutation:
    return Mutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=matcher))
