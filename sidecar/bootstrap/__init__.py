"""Settings to Envoy's bootstrap, as typed messages of envoy-data-plane, which know JSON and what an Any holds."""

import yaml
from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.config.overload.v3 import (
    BufferFactoryConfig,
    LoadShedPoint,
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ScaledTrigger,
    ThresholdTrigger,
    Trigger,
)
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from sidecar.bootstrap import clusters, identity, listener, tracing
from sidecar.bootstrap.messages import packed, seconds, tcp
from sidecar.settings import Settings, host_and_port

_HEADING = """\
# Envoy's bootstrap, as `aibridge-sidecar envoy-config` makes it from the settings: change those, not this.
# Relative paths are relative to where Envoy starts; the folder of the access log must be there.
"""
MAX_CONNECTIONS = 50_000
_HEAP = "envoy.resource_monitors.fixed_heap"
# Shares of the heap at which Envoy begins to give memory back; to answer 503, while what has begun goes on; and to hear
# no more of HTTP/1.1 clients that send all the same, of whom no stream can be reset.
_ACTIONS = {"shrink_heap": 0.9, "stop_accepting_requests": 0.95}
_DEAF = 0.97
_DISPATCH = "envoy.load_shed_points.http1_server_abort_dispatch"
# From this share on HTTP/2 streams are reset, those that hold most first: those of a MiB and more at once, smaller ones
# the more there is beyond. At each look some 50 of each thread of Envoy, but only where the pressure is another than
# before, and where its range ends it stays the same: hence a monitor whose range goes on.
_RESET = 0.95
_BEYOND = "aibridge.heap_twice"
_TIMES = 2
_TRACKED = 13  # 8 KiB: the first of Envoy's eight classes by size, each twice the one before, up to a MiB and more
_LOOK = 0.1  # seconds between two looks: a fast client sends some hundred MiB in a second, which is Envoy's default
# Matched with the whole path, query included. Nothing that shows the configuration or raises a log level.
_ADMIN_PATHS = (r"/ready", r"/stats(\?.*)?", r"/healthcheck/(ok|fail)")


def render(settings: Settings, connections: int = MAX_CONNECTIONS) -> str:
    """The bootstrap as YAML. Not for others to read: it holds the verdict's value, and what a collector demands.

    `connections`: of clients at once.
    """
    message = _bootstrap(settings, connections).to_dict(casing=Casing.SNAKE)
    return _HEADING + yaml.safe_dump(message, sort_keys=False, width=120)


def _bootstrap(settings: Settings, connections: int) -> Bootstrap:
    providers = (clusters.provider(settings, provider) for provider in settings.providers)
    members = [clusters.sidecar(settings), *providers, *identity.clusters(settings)]
    if settings.telemetry.otlp_endpoint:
        members.append(tracing.collector(settings.telemetry))
    return Bootstrap(
        node=Node(id="aibridge", cluster="aibridge"),
        static_resources=BootstrapStaticResources(listeners=[listener.clients(settings)], clusters=members),
        admin=_admin(settings),
        overload_manager=_overload(settings, connections),
    )


def _admin(settings: Settings) -> Admin:
    paths = [StringMatcher(safe_regex=RegexMatcher(regex=path)) for path in _ADMIN_PATHS]
    return Admin(address=tcp(*host_and_port(settings.admin)), allow_paths=paths)


def _overload(settings: Settings, most_connections: int) -> OverloadManager:
    """A request without a length is counted by the sidecar when it is whole, and Envoy holds it until then."""
    connections = ResourceMonitor(
        name="envoy.resource_monitors.global_downstream_max_connections",
        typed_config=packed(DownstreamConnectionsConfig(max_active_downstream_connections=most_connections)),
    )
    most = settings.limits.max_envoy_bytes
    triggers = {name: _above(share) for name, share in _ACTIONS.items()}
    beyond = ScaledTrigger(scaling_threshold=_RESET / _TIMES, saturation_threshold=1)
    triggers["reset_high_memory_stream"] = Trigger(name=_BEYOND, scaled=beyond)
    return OverloadManager(
        refresh_interval=seconds(_LOOK),
        resource_monitors=[connections, _heap(_HEAP, most), _heap(_BEYOND, _TIMES * most)],
        actions=[
            OverloadAction(name=f"envoy.overload_actions.{name}", triggers=[trigger])
            for name, trigger in triggers.items()
        ],
        loadshed_points=[LoadShedPoint(name=_DISPATCH, triggers=[_above(_DEAF)])],
        buffer_factory_config=BufferFactoryConfig(minimum_account_to_track_power_of_two=_TRACKED),
    )


def _heap(name: str, most: int) -> ResourceMonitor:
    return ResourceMonitor(name=name, typed_config=packed(FixedHeapConfig(max_heap_size_bytes=most)))


def _above(share: float) -> Trigger:
    return Trigger(name=_HEAP, threshold=ThresholdTrigger(value=share))
