"""An Envoy like Istio's: what istiod makes of ServiceEntry, DestinationRule and VirtualService, as far as ours go.

Less than Istio's proxy has, whose own filters (`istio.*`) no other Envoy knows; but with what could be in the way:
upgrades allowed, other filters before the router, retries by default, paths left as they are, HTTP/1.1 upstream.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Fields = dict[str, Any]

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"
_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_SOCKET = "envoy.transport_sockets.tls"
_ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Ports, and files in PEM: `authorities` stand for the system's; `mutual` is a gateway's, named as in `[tls]`."""

    listen: int
    admin: int = 1
    authorities: str = ""
    mutual: Fields | None = None


def configuration(documents: Iterable[Fields], via: str, around: Around) -> Fields:
    """The configuration of an Envoy in the mesh; `via`: "mesh", or the name of the gateway that it is."""
    found = {(document["kind"], document["metadata"]["name"]): document["spec"] for document in documents}
    kinds = [
        [spec for (kind, _), spec in found.items() if kind == wanted] for wanted in ("ServiceEntry", "VirtualService")
    ]
    rules = [spec for (kind, _), spec in found.items() if kind == "DestinationRule"]
    return {
        "node": {"id": "sidecar~10.0.0.1~agent.aibridge~cluster.local", "cluster": "agent.aibridge"},
        "admin": {"address": _at(_ADDRESS, around.admin)},
        "static_resources": {
            "listeners": [_listener(list(_hosts(kinds[1], via)), around)],
            "clusters": [_cluster(entry, rules, around.authorities) for entry in kinds[0]],
        },
    }


def _at(host: str, port: int) -> Fields:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(hosts: list[Fields], around: Around) -> Fields:
    port, mutual = around.listen, around.mutual
    manager = {
        "@type": _MANAGER,
        "stat_prefix": f"outbound_0.0.0.0_{port};",
        "route_config": {"name": str(port), "virtual_hosts": hosts, "validate_clusters": False},
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": {"@type": f"{_HTTP}.fault.v3.HTTPFault"}},
            {"name": "envoy.filters.http.cors", "typed_config": {"@type": f"{_HTTP}.cors.v3.Cors"}},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_HTTP}.router.v3.Router"}},
        ],
        "use_remote_address": False,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "0s",
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    chain = {"filters": filters} | ({"transport_socket": _downstream(mutual)} if mutual else {})
    return {"name": f"0.0.0.0_{port}", "address": _at(_ADDRESS, port), "filter_chains": [chain]}


def _downstream(mutual: Fields) -> Fields:
    own = {"certificate_chain": {"filename": mutual["cert_file"]}, "private_key": {"filename": mutual["key_file"]}}
    context = {"tls_certificates": [own], "validation_context": {"trusted_ca": {"filename": mutual["client_ca_file"]}}}
    config = {"@type": _TLS.replace("Upstream", "Downstream"), "require_client_certificate": True}
    return {"name": _SOCKET, "typed_config": config | {"common_tls_context": context}}


def _hosts(services: list[Fields], via: str) -> Iterator[Fields]:
    for service in services:
        (host,) = service["hosts"]
        routes = [
            _route(http, match) for http in service["http"] for match in http["match"] if via in match["gateways"]
        ]
        port = service["http"][0]["match"][0]["port"]
        yield {"name": f"{host}:{port}", "domains": [host, f"{host}:{port}"], "routes": routes}


def _route(http: Fields, match: Fields) -> Fields:
    target = http["route"][0]["destination"]
    action: Fields = {"cluster": f"outbound|{target['port']['number']}||{target['host']}", "timeout": "0s"}
    if rewrite := http.get("rewrite"):
        action |= {"prefix_rewrite": rewrite["uri"], "host_rewrite_literal": rewrite["authority"]}
    if retries := http["retries"]["attempts"]:
        action["retry_policy"] = {"retry_on": http["retries"]["retryOn"], "num_retries": retries}
    return {"name": http["name"], "match": {"prefix": match.get("uri", {"prefix": "/"})["prefix"]}, "route": action}


def _cluster(entry: Fields, rules: list[Fields], authorities: str) -> Fields:
    (host,), (port,) = entry["hosts"], entry["ports"]
    name = f"outbound|{port['number']}||{host}"
    endpoint = {"endpoint": {"address": _at(host, port["targetPort"])}}
    options = {"@type": f"type.googleapis.com/{_OPTIONS}", "explicit_http_config": {"http_protocol_options": {}}}
    cluster = {
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_ONLY",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {_OPTIONS: options},
    }
    (way,) = (rule["trafficPolicy"]["portLevelSettings"][0] for rule in rules if rule["host"] == host)
    pool = way["connectionPool"]["tcp"]
    cluster["connect_timeout"] = pool["connectTimeout"]
    told = pool["tcpKeepalive"]
    keepalive = {f"keepalive_{name}": int(told[name].removesuffix("s")) for name in ("time", "interval")}
    keepalive["keepalive_probes"] = told["probes"]
    cluster["upstream_connection_options"] = {"tcp_keepalive": keepalive}
    return cluster | ({"transport_socket": _transport(way["tls"], authorities)} if "tls" in way else {})


def _transport(tls: Fields, authorities: str) -> Fields:
    assert (tls["mode"], tls["caCertificates"]) == ("SIMPLE", "system")
    names = [{"san_type": "DNS", "matcher": {"exact": name}} for name in tls["subjectAltNames"]]
    context = {"trusted_ca": {"filename": authorities}, "match_typed_subject_alt_names": names}
    config = {"@type": _TLS, "sni": tls["sni"], "common_tls_context": {"validation_context": context}}
    return {"name": _SOCKET, "typed_config": config}
