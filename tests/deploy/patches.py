"""What istiod makes of EnvoyFilters: the patches that ours use, applied to a configuration as istiod applies them.

From pilot/pkg/networking/core/envoyfilter (Istio, Apache-2.0): MERGE is protobuf's, so lists grow and what is in a map
of messages is replaced as a whole; the typed configuration of a filter is merged, too, one within it is replaced.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

Fields = dict[str, Any]

_MAPS = frozenset({"typed_extension_protocol_options", "typed_per_filter_config"})


class NotApplied(AssertionError):
    """A patch that changes nothing: in a mesh nobody would say so."""


def patched(envoy: Fields, documents: Iterable[Fields], *, context: str, labels: dict[str, str]) -> Fields:
    """The configuration of a proxy in `context` whose pod has these labels. Raises NotApplied."""
    patched = deepcopy(envoy)
    for document in documents:
        chosen = document["spec"].get("workloadSelector", {"labels": {}})["labels"] if _is_filter(document) else None
        if chosen is not None and chosen.items() <= labels.items():
            for patch in document["spec"]["configPatches"]:
                if patch["match"]["context"] == context and not _apply(patched["static_resources"], patch):
                    raise NotApplied(patch)
    return patched


def merged(old: Any, new: Any, *, is_any: bool = False) -> Any:  # noqa: ANN401 - as YAML has it
    """`new` merged into `old`; `is_any`: both are the typed configuration of a filter."""
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    if not isinstance(old, dict) or not isinstance(new, dict) or ("@type" in new and not is_any):
        return new
    return old | {
        key: old.get(key, {}) | value if key in _MAPS else merged(old[key], value) if key in old else value
        for key, value in new.items()
    }


def _is_filter(document: Fields) -> bool:
    return bool(document["kind"] == "EnvoyFilter")


def _apply(envoy: Fields, patch: Fields) -> bool:
    operation, value = patch["patch"]["operation"], patch["patch"]["value"]
    match patch["applyTo"], operation:
        case "CLUSTER", "ADD":
            envoy["clusters"].append(value)
            return True
        case "CLUSTER", "MERGE":
            return _merge_all(_clusters(envoy, patch["match"]["cluster"]), value)
        case "HTTP_ROUTE", "MERGE":
            return _merge_all(_routes(envoy, patch["match"]["routeConfiguration"]["vhost"]), value)
        case "NETWORK_FILTER", "MERGE":
            return _merge_typed(list(_network_filters(envoy, patch["match"]["listener"])), value)
        case "HTTP_FILTER", ("MERGE" | "INSERT_BEFORE"):
            done = [_http_filter(chain, patch) for chain in _http_filters(envoy, patch["match"]["listener"])]
            return any(done)
    raise NotImplementedError(patch["applyTo"], operation)


def _merge_all(targets: Iterable[Fields], value: Fields) -> bool:
    found = list(targets)
    for target in found:
        target.update(merged(target, value))
    return bool(found)


def _merge_typed(targets: list[Fields], value: Fields) -> bool:
    for target in targets:
        assert target["name"] == value["name"]
        target["typed_config"] = merged(target["typed_config"], value["typed_config"], is_any=True)
    return bool(targets)


def _clusters(envoy: Fields, match: Fields) -> Iterator[Fields]:
    """Istio names a cluster `direction|port|subset|host`."""
    for cluster in envoy["clusters"]:
        parts = cluster["name"].split("|")
        if len(parts) == 4 and (parts[1], parts[3]) == (str(match["portNumber"]), match["service"]):
            yield cluster


def _routes(envoy: Fields, match: Fields) -> Iterator[Fields]:
    for listener in envoy["listeners"]:
        for manager in _managers(listener):
            hosts = manager["typed_config"]["route_config"]["virtual_hosts"]
            routes = (route for host in hosts if host["name"] == match["name"] for route in host["routes"])
            yield from (route for route in routes if route["name"] == match["route"]["name"])


def _network_filters(envoy: Fields, match: Fields) -> Iterator[Fields]:
    for listener in envoy["listeners"]:
        if listener["address"]["socket_address"]["port_value"] == match["portNumber"]:
            yield from (one for one in _managers(listener) if one["name"] == match["filterChain"]["filter"]["name"])


def _managers(listener: Fields) -> Iterator[Fields]:
    return (one for chain in listener["filter_chains"] for one in chain["filters"])


def _http_filters(envoy: Fields, match: Fields) -> Iterator[list[Fields]]:
    return (found["typed_config"]["http_filters"] for found in _network_filters(envoy, match))


def _http_filter(chain: list[Fields], patch: Fields) -> bool:
    wanted = patch["match"]["listener"]["filterChain"]["filter"]["subFilter"]["name"]
    places = [index for index, one in enumerate(chain) if one["name"] == wanted]
    value = patch["patch"]["value"]
    if patch["patch"]["operation"] == "MERGE":
        return _merge_typed([chain[place] for place in places], value)
    for place in places[:1]:
        chain.insert(place, deepcopy(value))
    return bool(places)
