"""The chart in a mesh: its pods beside istio-proxy, and what they have to agree on with Istio's resources."""

import re
import tomllib

import kubernetes_validate
import pytest
import yaml

from deploy import render
from sidecar.settings import load
from tests.deploy.charts import annotations, file, made, only, ours, pod, resources

LONGEST_STOP = 20  # seconds that `serve` takes when it is told to stop
DRAIN = 900  # seconds, by default
DOCS = render.ROOT / "docs/mesh.md"
MESH = ("istio-sidecar", "egress-gateway")


@pytest.mark.parametrize("name", MESH)
def test_with_everything_said_it_is_valid_kubernetes(name: str) -> None:
    """What a service says of provider, store, limits, pods and network, said of a mesh's pods."""
    full, chosen = render.values("full"), render.values(name)
    settings = full["settings"] | chosen.get("settings", {})
    workload = chosen["workload"] | {"replicas": 3, "annotations": {"example.com/owner": "agents"}}
    found = made(full | chosen | {"settings": settings, "workload": workload, "provider": full["provider"]})
    for resource in found:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
    assert pod(found)["terminationGracePeriodSeconds"] > full["drainSeconds"] + LONGEST_STOP
    assert annotations(found)["example.com/owner"] == "agents"


@pytest.mark.parametrize("name", MESH)
def test_in_a_mesh_it_is_istio_proxy_that_drains(name: str) -> None:
    """And the sidecar, a native one, is told to end when that has: the kubelet's order, which no hook could better."""
    found = resources(name)
    config = yaml.safe_load(annotations(found)["proxy.istio.io/config"])
    assert config == {"proxyMetadata": {"EXIT_ON_ZERO_ACTIVE_CONNECTIONS": "true"}}
    assert "lifecycle" not in ours(found)["aibridge"]
    assert pod(found)["terminationGracePeriodSeconds"] > DRAIN + LONGEST_STOP


def test_annotations_of_one_s_own_come_before_the_chart_s() -> None:
    own = {"proxy.istio.io/config": "terminationDrainDuration: 60s", "example.com/owner": "agents"}
    values = render.values("istio-sidecar")
    values["workload"]["annotations"] = own
    assert own.items() <= annotations(made(values)).items()


@pytest.mark.parametrize("name", ["service", "sidecar"])
def test_elsewhere_nothing_is_said_of_a_mesh(name: str) -> None:
    assert [key for key in annotations(resources(name)) if "istio.io" in key] == []


@pytest.mark.parametrize("name", MESH)
def test_in_a_mesh_it_is_istio_proxy_s_user(name: str) -> None:
    """Whose sockets are their owner's alone."""
    assert {container["securityContext"]["runAsUser"] for container in ours(resources(name)).values()} == {1337}


def test_a_gateway_hears_the_mesh_and_speaks_with_provider_store_and_istiod() -> None:
    """Envoy's and istio-proxy's admin interfaces are on loopback, whatever a policy says."""
    rules = only(resources("egress-gateway"), "NetworkPolicy")["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in rules["ingress"]] == [[10000], [9465, 15020]]
    assert [port["port"] for rule in rules["egress"] for port in rule["ports"]] == [53, 53, 443, 9470, 15012]
    assert all(rule["from"] for rule in rules["ingress"])


@pytest.mark.parametrize("name", ["sidecar", "istio-sidecar"])
def test_a_program_s_pod_has_no_policy_that_would_hold_for_the_program_too(name: str) -> None:
    assert [each["kind"] for each in resources(name)].count("NetworkPolicy") == 0


def test_the_policy_that_the_docs_show_is_one() -> None:
    """For programs' namespaces, which no chart of ours makes."""
    (text,) = re.findall(r"```yaml\n(apiVersion: networking.k8s.io.*?)```", DOCS.read_text(), re.DOTALL)
    shown = yaml.safe_load(text)
    kubernetes_validate.validate(shown, kubernetes_validate.latest_version(), strict=True)
    assert shown["spec"]["egress"] == [{"to": [{"namespaceSelector": {}}]}]


def test_the_mesh_s_pods_and_its_resources_agree() -> None:
    """What they have to: see envoy/istio/settings.toml."""
    mesh = load(render.ROOT / "envoy/istio/settings.toml")
    for name in MESH:
        read = tomllib.loads(file(resources(name), "aibridge.toml"))
        assert read["runtime_dir"] == str(mesh.runtime_dir)
        assert read["providers"][0]["name"] == mesh.providers[0].name
        assert read["providers"][0]["base_url"] == mesh.providers[0].base_url
        assert {"workers", "verdict", "limits"}.isdisjoint(read)


def test_the_gateway_asks_for_what_its_pods_name_people_by() -> None:
    """The certificate: without it nobody would have a name."""
    assert tomllib.loads(file(resources("egress-gateway"), "aibridge.toml"))["identity"] == {"source": "mtls"}
    (envoy, *_) = yaml.safe_load_all((render.ROOT / "envoy/istio/gateway.yaml").read_text())
    (ext_proc,) = (
        patch["patch"]["value"]["typed_config"]
        for patch in envoy["spec"]["configPatches"]
        if patch["patch"]["value"].get("name") == "envoy.filters.http.ext_proc"
    )
    assert "connection.uri_san_peer_certificate" in ext_proc["request_attributes"]


def test_the_gateway_s_resources_find_the_chart_s_pods_and_service() -> None:
    envoy, gateway, *_ = yaml.safe_load_all((render.ROOT / "envoy/istio/gateway.yaml").read_text())
    found = resources("egress-gateway")
    labels = only(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
    for selected in (envoy["spec"]["workloadSelector"]["labels"], gateway["spec"]["selector"]):
        assert selected.items() <= labels.items()
    (port,) = only(found, "Service")["spec"]["ports"]
    assert only(found, "Service")["metadata"]["name"] == gateway["metadata"]["name"]
    assert port["port"] == gateway["spec"]["servers"][0]["port"]["number"]
