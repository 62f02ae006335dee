"""The same filters in Istio's egress path: resources for istiod instead of a bootstrap for Envoy.

    program ─▶ Envoy of its pod, port 10000 ─▶ provider                              place "sidecar"
    program ─▶ Envoy of its pod ─▶ Envoy of the egress gateway, port 10000 ─▶ provider      "gateway"
               with our filters where the place says so; `aibridge-sidecar serve` runs in that pod

All that is Envoy's own is taken from the bootstrap as it is rendered, so the two cannot differ. The port is one that
nothing else in the mesh has: then the whole listener is ours, and RBAC refuses whatever meets it without a verdict.
"""

from collections.abc import Iterator
from typing import Any, Final

import yaml
from betterproto2 import Casing

from sidecar import bootstrap
from sidecar.bootstrap import identity
from sidecar.bootstrap.clusters import KEEPALIVE, cluster_name
from sidecar.bootstrap.istio_places import Place, possible
from sidecar.core.errors import BadSetting
from sidecar.core.identity import JWT_FILTER
from sidecar.settings import Provider, Settings, host_and_port
from sidecar.settings.checks import is_ip

__all__ = ["GATEWAY", "LABELS", "Place", "render"]

Fields = dict[str, Any]

# The gateway's service, and its pods' label.
GATEWAY: Final = "aibridge-egress"
LABELS: Final = {"istio": GATEWAY}
_CONTEXTS: Final[dict[Place, str]] = {"sidecar": "SIDECAR_OUTBOUND", "gateway": "GATEWAY"}
_HEADING = """\
# For Istio, as `aibridge-sidecar istio-config --at {place}` makes it from the settings: change those, not this.
"""
_API = "networking.istio.io/v1"
_MANAGER = "envoy.filters.network.http_connection_manager"
_ROUTER = "envoy.filters.http.router"
# What a mesh has of its own: health checks, access log, spans, routes.
_MESHS_FILTERS = frozenset(f"envoy.filters.http.{name}" for name in ("health_check", "set_filter_state", "router"))
_MESHS_FIELDS = frozenset({"codec_type", "stat_prefix", "route_config", "http_filters", "tracing", "access_log"})
_NOBODYS_CLUSTERS = ("provider-", "otlp")
_PROTOCOL_OPTIONS = "typed_extension_protocol_options"
# Istio allows WebSockets everywhere, and nobody can read along there.
_NO_UPGRADES = {"upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}]}
_MANNERS = frozenset({"timeout", "retry_policy"})
# Istio's own would repeat what a provider may have billed; ours are in the patch.
_NO_REPEATS: Fields = {"attempts": 0}


def render(settings: Settings, place: Place) -> str:
    """The resources as YAML documents, without a namespace. Raises BadSetting for what no mesh can have."""
    possible(settings, place)
    envoy = yaml.safe_load(bootstrap.render(settings))["static_resources"]
    documents = [_filter(settings, place, envoy), *_egress(settings, place, _routes(envoy))]
    return _HEADING.format(place=place) + yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=120)


class _Plain(yaml.SafeDumper):
    """Without anchors, which are for machines."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _resource(kind: str, name: str, spec: Fields, api: str = _API) -> Fields:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _filter(settings: Settings, place: Place, envoy: Fields) -> Fields:
    patches = [
        {"applyTo": target, "match": {"context": _CONTEXTS[place], **match}, "patch": patch}
        for target, match, patch in _patches(settings, envoy)
    ]
    # Of programs' pods all in the namespace: one without a sidecar is refused, and does not go round.
    chosen = {"workloadSelector": {"labels": LABELS}} if place == "gateway" else {}
    return _resource("EnvoyFilter", "aibridge", chosen | {"configPatches": patches}, "networking.istio.io/v1alpha3")


def _patches(settings: Settings, envoy: Fields) -> Iterator[tuple[str, Fields, Fields]]:
    """Where, in what, and what to do there; first what the filters need to be there."""
    number, manager = _port(settings), _manager(envoy)
    clusters, routes = {cluster["name"]: cluster for cluster in envoy["clusters"]}, _routes(envoy)
    for name, cluster in clusters.items():
        if not name.startswith(_NOBODYS_CLUSTERS):
            yield "CLUSTER", {}, {"operation": "ADD", "value": cluster}
    for host, providers in _hosts(settings).items():
        chosen = clusters[cluster_name(providers[0])]
        value = {name: chosen[name] for name in (_PROTOCOL_OPTIONS, "upstream_bind_config")}
        yield "CLUSTER", {"cluster": {"service": host, "portNumber": number}}, {"operation": "MERGE", "value": value}
    for provider in settings.providers:
        match = {"routeConfiguration": {"vhost": _route_of(provider, number)}}
        yield "HTTP_ROUTE", match, {"operation": "MERGE", "value": _like(routes[provider.name])}
    yield "NETWORK_FILTER", _in_listener(number), _merge(_MANAGER, _ours(manager))
    for chosen in manager["http_filters"]:
        if chosen["name"] not in _MESHS_FILTERS:
            value = _without_files(settings, chosen)
            yield "HTTP_FILTER", _in_listener(number, _ROUTER), {"operation": "INSERT_BEFORE", "value": value}
    router = next(one for one in manager["http_filters"] if one["name"] == _ROUTER)
    yield "HTTP_FILTER", _in_listener(number, _ROUTER), _merge(_ROUTER, router["typed_config"])


def _without_files(settings: Settings, chosen: Fields) -> Fields:
    """Issuers' keys are no secret, and an Envoy that starts before us takes no filter whose file is not there yet."""
    if chosen["name"] == JWT_FILTER:
        return identity.tokens(settings).to_dict(casing=Casing.SNAKE)
    return chosen


def _manager(envoy: Fields) -> Fields:
    config: Fields = envoy["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return config


def _routes(envoy: Fields) -> dict[str, Fields]:
    (host,) = _manager(envoy)["route_config"]["virtual_hosts"]
    return {route["name"]: route for route in host["routes"] if "route" in route}


def _route_of(provider: Provider, number: int) -> Fields:
    return {"name": f"{provider.host}:{number}", "route": {"name": provider.name}}


def _like(route: Fields) -> Fields:
    """What else our own route says than where it leads: how long, how often, how much."""
    action = {key: value for key, value in route["route"].items() if key in _MANNERS}
    rest = {key: value for key, value in route.items() if key not in {"name", "match", "route"}}
    return rest | {"route": action | _NO_UPGRADES}


def _ours(manager: Fields) -> Fields:
    return {key: value for key, value in manager.items() if key not in _MESHS_FIELDS}


def _merge(name: str, config: Fields) -> Fields:
    return {"operation": "MERGE", "value": {"name": name, "typed_config": config}}


def _in_listener(number: int, http_filter: str = "") -> Fields:
    chosen: Fields = {"name": _MANAGER}
    if http_filter:
        chosen["subFilter"] = {"name": http_filter}
    return {"listener": {"portNumber": number, "filterChain": {"filter": chosen}}}


def _egress(settings: Settings, place: Place, routes: dict[str, Fields]) -> Iterator[Fields]:
    """How requests come to the providers, and how they come to the gateway where there is one."""
    if place == "gateway":
        yield from _way_to_gateway(settings)
    # Where programs' own Envoys ask, no other namespace shall find the way: its Envoys have no filter.
    seen = {"exportTo": ["."]} if place == "sidecar" else {}
    for host, providers in _hosts(settings).items():
        name = f"aibridge-{providers[0].name}"
        yield _resource("ServiceEntry", name, _service_entry(settings, host, providers[0]) | seen)
        yield _resource("DestinationRule", name, _way_out(settings, host, providers[0]) | seen)
        yield _resource("VirtualService", name, _virtual_service(settings, place, host, providers, routes) | seen)


def _service_entry(settings: Settings, host: str, provider: Provider) -> Fields:
    way = {"number": _port(settings), "name": "http-aibridge", "protocol": "HTTP", "targetPort": provider.port}
    return {"hosts": [host], "location": "MESH_EXTERNAL", "resolution": "DNS", "ports": [way]}


def _way_out(settings: Settings, host: str, provider: Provider) -> Fields:
    tls = {"mode": "SIMPLE", "sni": host, "subjectAltNames": [host], "caCertificates": "system"}
    return {"host": host, "trafficPolicy": _policy(settings, {"tls": tls} if provider.tls else {})}


def _policy(settings: Settings, tls: Fields) -> Fields:
    """How the port's connections are made; they are kept as the bootstrap has them kept."""
    keepalive = {
        "time": f"{KEEPALIVE.keepalive_time}s",
        "interval": f"{KEEPALIVE.keepalive_interval}s",
        "probes": KEEPALIVE.keepalive_probes,
    }
    pool = {"tcp": {"connectTimeout": "5s", "tcpKeepalive": keepalive}}
    return {"portLevelSettings": [{"port": {"number": _port(settings)}, "connectionPool": pool, **tls}]}


def _virtual_service(
    settings: Settings, place: Place, host: str, providers: list[Provider], routes: dict[str, Fields]
) -> Fields:
    number, via = _port(settings), "mesh" if place == "sidecar" else GATEWAY
    table = [_route(number, via, provider, routes[provider.name]) for provider in providers]
    if place == "sidecar":
        return {"hosts": [host], "gateways": ["mesh"], "http": table}
    onwards = {
        "name": "to-the-gateway",
        "match": [{"gateways": ["mesh"], "port": number}],
        "route": [_destination(GATEWAY, number, subset=_subset(providers))],
        "retries": _NO_REPEATS,
    }
    return {"hosts": [host], "gateways": ["mesh", GATEWAY], "http": [onwards, *table]}


def _route(number: int, via: str, provider: Provider, route: Fields) -> Fields:
    """The provider's route; what fits none is Envoy's 404."""
    return {
        "name": provider.name,
        "match": [{"gateways": [via], "port": number, "uri": {"prefix": f"/{provider.name}/v1/"}}],
        "rewrite": {"uri": route["route"]["prefix_rewrite"], "authority": route["route"]["host_rewrite_literal"]},
        "route": [_destination(provider.host, number)],
        "retries": _NO_REPEATS,
    }


def _destination(host: str, number: int, **subset: str) -> Fields:
    return {"destination": {"host": host, **subset, "port": {"number": number}}}


def _subset(providers: list[Provider]) -> str:
    return providers[0].name


def _way_to_gateway(settings: Settings) -> Iterator[Fields]:
    """Mutual TLS within the mesh, so the gateway knows whose pod is asking; it finds the host by its server name."""
    server = {
        "port": {"number": _port(settings), "name": "https-aibridge", "protocol": "HTTPS"},
        "hosts": list(_hosts(settings)),
        "tls": {"mode": "ISTIO_MUTUAL"},
    }
    yield _resource("Gateway", GATEWAY, {"selector": LABELS, "servers": [server]})
    subsets = [
        {"name": _subset(providers), "trafficPolicy": _policy(settings, {"tls": {"mode": "ISTIO_MUTUAL", "sni": host}})}
        for host, providers in _hosts(settings).items()
    ]
    yield _resource("DestinationRule", GATEWAY, {"host": GATEWAY, "subsets": subsets})


def _hosts(settings: Settings) -> dict[str, list[Provider]]:
    """The providers by host, of which a mesh has one service each."""
    found: dict[str, list[Provider]] = {}
    for index, provider in enumerate(settings.providers):
        if is_ip(provider.host):
            msg = f"providers[{index}].base_url = {provider.base_url!r}: a mesh needs a host's name"
            raise BadSetting(msg)
        group = found.setdefault(provider.host, [])
        if group and (group[0].port, group[0].tls) != (provider.port, provider.tls):
            msg = f"providers[{index}].base_url = {provider.base_url!r}: a mesh needs one scheme and port for one host"
            raise BadSetting(msg)
        group.append(provider)
    return found


def _port(settings: Settings) -> int:
    return host_and_port(settings.listen)[1]
