"""The few shapes that every part of a bootstrap is made of."""

from datetime import timedelta

from betterproto2 import Message
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    SocketAddress,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.network.dns_resolver.cares.v3 import CaresDnsResolverConfig
from envoy_data_plane.google.protobuf import Any

SIDECAR = "sidecar"
OTLP = "otlp"


def overwritten(name: str, value: str) -> HeaderValueOption:
    """A header that is set, whatever it was before."""
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def seconds(value: float) -> timedelta:
    """A duration."""
    return timedelta(seconds=value)


def packed(message: Message) -> Any:
    """The message with its type, as extensions are configured."""
    return Any.pack(message)


def http_filter(name: str, config: Message) -> HttpFilter:
    """The HTTP filter `envoy.filters.http.<name>`."""
    return HttpFilter(name=f"envoy.filters.http.{name}", typed_config=packed(config))


def tcp(host: str, port: int) -> Address:
    """A TCP address, its host an IP address or a name."""
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def endpoints(cluster: str, *addresses: Address) -> ClusterLoadAssignment:
    """The endpoints of a cluster, all of the same weight."""
    members = [LbEndpoint(endpoint=Endpoint(address=address)) for address in addresses]
    return ClusterLoadAssignment(cluster_name=cluster, endpoints=[LocalityLbEndpoints(lb_endpoints=members)])


def resolver() -> TypedExtensionConfig:
    """Who finds an address by a name, and gives up in time where nobody answers: Envoy serves nobody before.

    By default each of a host's search domains costs it 26 s. Where nobody answers, it reads again who is to be asked.
    """
    config = CaresDnsResolverConfig(query_timeout_seconds=2, query_tries=2, reinit_channel_on_timeout=True)
    return TypedExtensionConfig(name="envoy.network.dns_resolver.cares", typed_config=packed(config))
