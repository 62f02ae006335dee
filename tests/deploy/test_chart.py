"""The chart: what it makes of its examples' values, and what it says to others."""

import tomllib
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from deploy import render
from sidecar.settings import load
from tests.deploy.charts import EXAMPLES, file, made, only, ours, pod, resources

Fields = dict[str, Any]
# The oldest Kubernetes that Chart.yaml allows, and the newest that there are schemas for.
VERSIONS = ("1.29", kubernetes_validate.latest_version())
LONGEST_STOP = 20  # seconds that `up` takes when it is told to stop


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_everything_is_valid_kubernetes(name: str, version: str) -> None:
    """Strictly: a key that Kubernetes does not know is none that it heeds."""
    for resource in resources(name):
        kubernetes_validate.validate(resource, version, strict=True)


def test_helm_finds_nothing_to_mend() -> None:
    found = helm.lint(render.CHART, render.values("service"), strict=True)
    assert found["errors"] == []
    assert [message["error"] for message in found["messages"]] == ["icon is recommended"]


def test_three_values_are_enough() -> None:
    values = render.values("service")
    assert {(key, *value) if isinstance(value, dict) else (key,) for key, value in values.items()} == {
        ("image",),
        ("provider", "secret"),
        ("store", "url"),
    }
    kinds = {resource["kind"] for resource in made(values)}
    assert kinds == {
        "ConfigMap",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    }


@pytest.mark.parametrize("missing", ["image", "provider", "store"])
def test_without_one_of_them_there_is_nothing(missing: str) -> None:
    values = {key: value for key, value in render.values("service").items() if key != missing}
    with pytest.raises(helm.HelmValuesError, match=f"at '/{missing}"):
        render.manifests(values)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"image": "registry.example/aibridge-sidecar:latest"}, "at '/image'"),
        ({"store": {"url": "mysql://db/records"}}, "at '/store/url'"),
        ({"store": {"url": "postgresql://aibridge:secret@db/records"}}, "at '/store/url'"),
        ({"store": {"url": "grpcs://records:9470", "clientCertificate": True}}, "at '/store'.*tlsSecret|tlsSecret"),
        ({"mode": "daemon"}, "at '/mode'"),
        ({"mode": "sidecar"}, "at '/workload/containers'"),
        ({"replicas": 3}, "additional properties 'replicas' not allowed"),
        ({"service": {"replicas": 0}}, "at '/service/replicas'"),
        ({"relay": {"port": 10000}}, "at '/relay/port'"),
        ({"journal": {"size": "many"}}, "at '/journal/size'"),
        ({"networkPolicy": {"clients": []}}, "at '/networkPolicy/clients'"),
        ({"networkPolicy": {"clients": [{}]}}, "at '/networkPolicy/clients/0'"),
        ({"networkPolicy": {"istiod": []}}, "at '/networkPolicy/istiod'"),
        ({"workload": {"service": {"name": "egress"}}}, "at '/workload/service'"),
    ],
)
def test_a_wrong_value_is_named(wrong: Fields, said: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=said):
        render.manifests(render.values("service") | wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"drainSeconds": 10}, "drainSeconds: 10 is less than settings.limits.request_timeout"),
        ({"settings": {"limits": {"request_timeout": 3600}}}, "drainSeconds: 900 is less than"),
        ({"settings": {"listen": "0.0.0.0:80"}}, "settings.listen: is the chart's own"),
        ({"settings": {"runtime_dir": "/tmp"}}, "settings.runtime_dir: is the chart's own"),  # noqa: S108 - refused
    ],
)
def test_values_that_do_not_fit_together_are_named(wrong: Fields, said: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=said):
        render.manifests(render.values("service") | wrong)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_settings_are_such_as_the_sidecar_takes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the secrets where the pod has them."""
    text = file(resources(name), "aibridge.toml")
    files = [f"{folder}/{name}" for folder in ("store", "tls") for name in ("ca.crt", "tls.crt", "tls.key")]
    for secret in ("provider/api-key", *files):
        here = tmp_path / secret
        here.parent.mkdir(exist_ok=True)
        here.write_text("sk-secret")
    (tmp_path / "aibridge.toml").write_text(text.replace("/etc/aibridge", str(tmp_path)))
    for variable in ours(resources(name))["aibridge"]["env"]:
        if variable["name"].startswith("AIBRIDGE_"):
            monkeypatch.setenv(variable["name"], variable.get("value", "from a secret"))
    settings = load(tmp_path / "aibridge.toml")
    key = settings.providers[0].api_key
    assert key
    assert key.get_secret_value() == "sk-secret"
    assert settings.runtime_dir == Path("/run/aibridge/bridge")
    assert settings.database == Path("/var/lib/aibridge/journal.db")
    assert settings.limits.request_timeout <= pod(resources(name))["terminationGracePeriodSeconds"]


def test_whole_numbers_stay_whole() -> None:
    """Helm's are floats."""
    read = tomllib.loads(file(resources("full"), "aibridge.toml"))
    numbers = [read["workers"], read["limits"]["max_request_bytes"], read["recorder"]["retention_days"]]
    assert [repr(number) for number in numbers] == ["2", "67108864", "90"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_our_containers_are_restricted(name: str) -> None:
    """As the Pod Security Standards have it, and with a root that nobody can write to."""
    for container in ours(resources(name)).values():
        context = dict(container["securityContext"])
        assert context.pop("runAsUser") == context.pop("runAsGroup") > 0
        assert context == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert {"requests", "limits"} <= set(container["resources"])
        assert "cpu" not in container["resources"]["limits"]
    spec = pod(resources(name))
    assert not spec["automountServiceAccountToken"]
    assert {"hostPath", "hostNetwork", "hostPID"}.isdisjoint({*spec, *(key for one in spec["volumes"] for key in one)})


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_needs_a_shell(name: str) -> None:
    for container in ours(resources(name)).values():
        words = [*container.get("command", []), *container.get("args", [])]
        words += container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
        assert [word for word in words if word.endswith(("/sh", "bash"))] == []


HANDLERS = {"exec", "httpGet", "tcpSocket", "grpc"}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@pytest.mark.parametrize("name", EXAMPLES)
def test_in_a_mesh_no_probe_is_istiods_to_rewrite(name: str) -> None:
    """It would have the kubelet ask istio-proxy, which starts after us in a gateway; elsewhere they cost no process."""
    containers = ours(resources(name)).values()
    kinds = {key for one in containers for probe in PROBES for key in one.get(probe, {}) if key in HANDLERS}
    assert kinds == ({"exec"} if name in {"istio-sidecar", "egress-gateway"} else kinds - {"exec"})


def test_where_pods_have_ipv6_alone_all_that_others_ask_is_at_such_an_address() -> None:
    found = made(render.values("service") | {"ipv6": True})
    assert tomllib.loads(file(found, "aibridge.toml"))["listen"] == "[::]:10000"
    static = yaml.safe_load(file(found, "relay.yaml"))["static_resources"]
    assert "::1" in str([one for one in static["clusters"] if one["name"] == "bridge"])
    (listener,) = static["listeners"]
    assert listener["address"]["socket_address"]["address"] == "::"


@pytest.mark.parametrize(
    ("identity", "trusted"),
    [
        ({}, True),
        ({"header": "x-user"}, True),
        ({"trusted_cidrs": ["10.0.0.0/8"]}, None),
        ({"source": "jwt"}, None),
    ],
)
def test_a_header_is_trusted_where_nothing_else_is_said(identity: Fields, trusted: bool | None) -> None:  # noqa: FBT001
    found = made(render.values("service") | {"settings": {"identity": identity}})
    assert tomllib.loads(file(found, "aibridge.toml"))["identity"].get("trust_header") == trusted


@pytest.mark.parametrize("name", ["service", "full", "sidecar", "identified"])
def test_a_pod_has_time_to_drain_and_then_to_stop(name: str) -> None:
    found = resources(name)
    command = ours(found)["aibridge"]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["/opt/aibridge/bin/aibridge-sidecar", "drain"]
    drained = int(command[command.index("--timeout") + 1])
    assert pod(found)["terminationGracePeriodSeconds"] > drained + LONGEST_STOP


@pytest.mark.parametrize("name", ["sidecar", "istio-sidecar", "egress-gateway"])
def test_a_sidecar_is_a_native_one_and_ready_before_the_program_starts(name: str) -> None:
    found = resources(name)
    names = [container["name"] for container in pod(found)["initContainers"]]
    assert names[-2:] == ["aibridge-relay", "aibridge"]
    containers = ours(found)
    assert containers["aibridge"]["restartPolicy"] == containers["aibridge-relay"]["restartPolicy"] == "Always"
    assert "/healthz" in str(containers["aibridge"]["startupProbe"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_journal_is_on_a_disk(name: str) -> None:
    """A claim where the pods are a service's; never memory, which a node takes along when it goes."""
    found = resources(name)
    mounts = {mount["name"]: mount["mountPath"] for mount in ours(found)["aibridge"]["volumeMounts"]}
    assert mounts["aibridge-journal"] == "/var/lib/aibridge"
    volumes = {volume["name"]: volume for volume in pod(found)["volumes"]}
    assert all(volume.get("emptyDir", {}).get("medium", "") == "" for volume in volumes.values())
    if name in {"service", "full", "identified"}:
        (claim,) = only(found, "StatefulSet")["spec"]["volumeClaimTemplates"]
        assert claim["metadata"]["name"] == "aibridge-journal"
        assert "aibridge-journal" not in volumes


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_mount_has_its_volume(name: str) -> None:
    found = resources(name)
    there = {volume["name"] for volume in pod(found)["volumes"]}
    for resource in found:
        there |= (
            {claim["metadata"]["name"] for claim in resource["spec"].get("volumeClaimTemplates", [])}
            if "spec" in resource
            else set()
        )
    assert {mount["name"] for container in ours(found).values() for mount in container["volumeMounts"]} <= there


@pytest.mark.parametrize("name", EXAMPLES)
def test_selectors_find_the_pods_and_change_with_nothing_but_the_release(name: str) -> None:
    found = resources(name)
    wanted = {"app.kubernetes.io/name": "aibridge-sidecar", "app.kubernetes.io/instance": "aibridge"}
    for resource in found:
        match resource["kind"]:
            case "Service":
                assert resource["spec"]["selector"] == wanted
            case "PodDisruptionBudget" | "StatefulSet" | "Deployment":
                assert resource["spec"]["selector"]["matchLabels"] == wanted
            case "NetworkPolicy":
                assert resource["spec"]["podSelector"]["matchLabels"] == wanted
    (labels,) = (each["spec"]["template"]["metadata"]["labels"] for each in found if "template" in each.get("spec", {}))
    assert wanted.items() <= labels.items()


def test_the_network_lets_out_what_is_needed() -> None:
    rules = only(resources("full"), "NetworkPolicy")["spec"]["egress"]
    assert [port["port"] for rule in rules for port in rule["ports"]] == [53, 53, 8443, 9470, 4317]
    rules = only(resources("service"), "NetworkPolicy")["spec"]["egress"]
    assert [port["port"] for rule in rules for port in rule["ports"]] == [53, 53, 443, 5432]


def test_a_new_configuration_is_a_new_pod() -> None:
    one, other = (
        only(made(render.values("service") | {"settings": {"workers": workers}}), "StatefulSet") for workers in (1, 2)
    )
    assert one["spec"]["template"]["metadata"] != other["spec"]["template"]["metadata"]


@pytest.mark.parametrize(("path", "text"), list(render.generated()), ids=lambda value: getattr(value, "name", "…"))
def test_generated_files_are_current(path: Path, text: str) -> None:
    """Else: make deploy-yaml."""
    assert path.read_text() == text
