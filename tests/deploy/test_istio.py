"""The resources for Istio: their patches applied as istiod applies them, and the result run, with the real Envoy."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from examples.provider import ThreadedProvider
from sidecar import bootstrap
from sidecar.bootstrap import istio
from sidecar.core.errors import BadSetting
from sidecar.settings import Credentials, Identity, Settings
from sidecar.settings import Provider as ProviderSettings
from tests.deploy.istio import Around, configuration
from tests.deploy.meshes import Mesh, mesh
from tests.deploy.patches import NotApplied, patched
from tests.e2e.bridges import CENTRAL_KEY
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, ASKED_STREAM, PROMPT, pieces, streamed, whole
from tests.e2e.scripts import Script

TRUSTING = {"trust_header": True}  # as a gateway wants it said
BACKGROUND = ASKED[:-1] + b',"background":true}'


@pytest.fixture(scope="module", params=["sidecar", "gateway"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, named: dict[str, object]
) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp(request.param)
    with mesh(
        folder, request.param, {"identity": TRUSTING, "providers": [named]}, authorities=str(named["ca_file"])
    ) as started:
        yield started


def test_a_request_passes_with_the_key_and_is_recorded(
    running: Mesh, beyond: ThreadedProvider, case: str, script: Script
) -> None:
    script[case] = whole(case)
    answer = ask(running.port, case, ASKED, running.host)
    assert (answer.status, answer.body) == (200, whole(case).body)
    seen = beyond.seen[case][-1]
    assert (seen.target, seen.body) == ("/v1/responses", ASKED)
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    assert running.ending(case).asked == [(f"resp_{case}", PROMPT)]
    assert running.ending(case).ended == ("completed", None, 200)


def test_a_stream_passes_byte_for_byte(running: Mesh, case: str, script: Script) -> None:
    script[case] = streamed(case)
    assert ask(running.port, case, ASKED_STREAM, running.host).body == b"".join(pieces(case))
    assert running.ending(case).interception["streaming"] == 1


def test_the_provider_learns_nothing_of_the_mesh(
    running: Mesh, beyond: ThreadedProvider, case: str, script: Script
) -> None:
    """Nor of who asks: Envoy's and the tracer's headers are taken off at the last hop."""
    script[case] = whole(case)
    sent = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("x-envoy-max-retries", "9"))
    ask(running.port, case, ASKED, running.host, *sent)
    names = {name.lower() for name, _ in beyond.seen[case][-1].headers}
    assert [name for name in names if name.startswith(("x-envoy-", "x-forwarded-", "trace"))] == []


def test_a_background_request_is_refused(running: Mesh, beyond: ThreadedProvider, case: str) -> None:
    answer = ask(running.port, case, BACKGROUND, running.host)
    assert (answer.status, answer.json()["code"]) == (501, "501")
    assert beyond.seen[case] == []


def test_an_upgrade_is_refused(running: Mesh, beyond: ThreadedProvider, case: str) -> None:
    """Istio allows them everywhere."""
    upgrade = (("connection", "Upgrade"), ("upgrade", "websocket"))
    answer = ask(running.port, case, b"", running.host, *upgrade, method="GET")
    assert answer.status == 426
    assert beyond.seen[case] == []


def test_a_body_is_as_large_as_the_settings_allow(
    running: Mesh, beyond: ThreadedProvider, case: str, script: Script
) -> None:
    """Envoy's own limit is 1 MiB."""
    script[case] = whole(case)
    body = ASKED[:-2] + b" " * 2_000_000 + ASKED[-2:]
    assert ask(running.port, case, body, running.host).status == 200
    assert beyond.seen[case][-1].body == body


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/openai/v1/../v2/x", "/other/v1/responses", "/openai/v1%2fresponses"]
)
def test_no_path_leads_round_the_sidecar(
    running: Mesh, beyond: ThreadedProvider, case: str, script: Script, path: str
) -> None:
    script[case] = whole(case)
    answer = ask(running.port, case, BACKGROUND, running.host, path=path)
    assert answer.status in {400, 404}
    assert beyond.seen[case] == []


@pytest.mark.parametrize("place", ["sidecar", "gateway"])
def test_without_a_sidecar_nothing_passes(
    tmp_path: Path, named: dict[str, object], beyond: ThreadedProvider, case: str, place: istio.Place
) -> None:
    authorities = str(named["ca_file"])
    with mesh(
        tmp_path, place, {"identity": TRUSTING, "providers": [named]}, authorities=authorities, serves=False
    ) as alone:
        answer = ask(alone.port, case, ASKED, alone.host)
    assert (answer.status, answer.json()["message"]) == (500, "the sidecar gave no verdict on this request")
    assert beyond.seen[case] == []


def test_the_filters_are_the_bootstrap_s_in_its_order() -> None:
    """Behind Istio's own, right before the router; all but those that only our own listener needs."""
    chosen = settings("https://api.example/v1")
    documents = list(yaml.safe_load_all(istio.render(chosen, "sidecar")))
    plain = configuration(documents, "mesh", Around(listen=10000))
    (theirs, ours) = (
        envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
        for envoy in (
            patched(plain, documents, context="SIDECAR_OUTBOUND", labels={}),
            yaml.safe_load(bootstrap.render(chosen)),
        )
    )
    alone = ("envoy.filters.http.health_check", "envoy.filters.http.set_filter_state")
    assert theirs[2:] == [one for one in ours if one["name"] not in alone]
    assert [one["name"].rpartition(".")[2] for one in theirs[:2]] == ["fault", "cors"]


def test_of_gateways_only_ours_is_meant() -> None:
    documents = list(yaml.safe_load_all(istio.render(settings("https://api.example/v1"), "gateway")))
    plain = configuration(documents, istio.GATEWAY, Around(listen=10000))
    assert patched(plain, documents, context="GATEWAY", labels={"istio": "egressgateway"}) == plain


def test_of_pods_all_in_the_namespace_are_meant_and_nobody_else_finds_the_way() -> None:
    """A pod without a sidecar would go round it else, or one elsewhere whose Envoy has no filter."""
    envoy, *rest = yaml.safe_load_all(istio.render(settings("https://api.example/v1"), "sidecar"))
    assert "workloadSelector" not in envoy["spec"]
    assert {each["kind"]: each["spec"]["exportTo"] for each in rest} == {
        "ServiceEntry": ["."],
        "DestinationRule": ["."],
        "VirtualService": ["."],
    }


@pytest.mark.parametrize("place", ["sidecar", "gateway"])
def test_a_way_to_a_provider_that_is_gone_is_noticed_in_a_mesh_too(place: istio.Place) -> None:
    """The cluster is Istio's own, and knows nothing of it."""
    documents = yaml.safe_load_all(istio.render(settings("https://api.example/v1"), place))
    patches = [patch for each in documents for patch in each["spec"].get("configPatches", ())]
    (merged,) = (one["patch"]["value"] for one in patches if one["applyTo"] == "CLUSTER" and "cluster" in one["match"])
    assert merged["upstream_bind_config"]["socket_options"]


def test_a_patch_that_finds_nothing_is_told() -> None:
    """So these tests hold that each of ours finds its place."""
    documents = list(yaml.safe_load_all(istio.render(settings("https://api.example/v1"), "sidecar")))
    elsewhere = configuration(documents, "mesh", Around(listen=10001))
    with pytest.raises(NotApplied):
        patched(elsewhere, documents, context="SIDECAR_OUTBOUND", labels={})


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (["https://10.0.0.1/v1"], "a mesh needs a host's name"),
        (["https://api.example/v1", "https://api.example:8443/v1"], "one scheme and port for one host"),
    ],
)
def test_what_no_mesh_can_name_is_refused(urls: list[str], said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        istio.render(settings(*urls), "sidecar")


def test_a_key_that_envoy_would_have_to_read_from_a_file_is_refused() -> None:
    """Not every pod's Envoy has that file."""
    chosen = settings("https://api.example/v1").model_copy(update={"credentials": Credentials(inject_by="envoy")})
    with pytest.raises(BadSetting, match=r'^credentials\.inject_by = "envoy"'):
        istio.render(chosen, "gateway")


@pytest.mark.parametrize(
    ("place", "identity", "said"),
    [
        ("sidecar", Identity(source="mtls"), r'^identity\.source = "mtls": allowed: header or jwt for --at sidecar'),
        ("sidecar", Identity(source="api_key"), r'^identity\.source = "api_key": allowed: header or jwt'),
        ("gateway", Identity(), r"^identity\.trust_header = false: allowed: true for --at gateway, or"),
    ],
)
def test_who_asks_is_refused_where_no_envoy_can_know_it(place: istio.Place, identity: Identity, said: str) -> None:
    """Rather than recorded wrongly, or never served."""
    chosen = settings("https://api.example/v1").model_copy(update={"identity": identity})
    with pytest.raises(BadSetting, match=said):
        istio.render(chosen, place)


def test_two_providers_of_one_host_are_one_service() -> None:
    documents = list(
        yaml.safe_load_all(istio.render(settings("https://api.example/v1", "https://api.example/v2"), "gateway"))
    )
    assert [document["kind"] for document in documents].count("ServiceEntry") == 1
    (service,) = (document["spec"] for document in documents if document["kind"] == "VirtualService")
    assert [route["name"] for route in service["http"]] == ["to-the-gateway", "p0", "p1"]
    assert [route["rewrite"]["uri"] for route in service["http"][1:]] == ["/v1/", "/v2/"]


def test_repeats_are_those_of_our_own_routes() -> None:
    """And none are Istio's, which repeats what a provider may have billed."""
    chosen = settings("https://api.example/v1", max_retries=1, retry_on=("429", "5xx"))
    documents = list(yaml.safe_load_all(istio.render(chosen, "gateway")))
    (service,) = (document["spec"] for document in documents if document["kind"] == "VirtualService")
    assert [route["retries"] for route in service["http"]] == [{"attempts": 0}, {"attempts": 0}]
    (patch,) = (patch for patch in documents[0]["spec"]["configPatches"] if patch["applyTo"] == "HTTP_ROUTE")
    own = yaml.safe_load(bootstrap.render(chosen))["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    (route,) = (
        route for route in own["typed_config"]["route_config"]["virtual_hosts"][0]["routes"] if route["name"] == "p0"
    )
    assert patch["patch"]["value"]["route"]["retry_policy"] == route["route"]["retry_policy"]
    assert patch["patch"]["value"]["route"]["timeout"] == "0s"


def settings(*urls: str, **more: object) -> Settings:
    providers = tuple(ProviderSettings(name=f"p{index}", base_url=url, **more) for index, url in enumerate(urls))
    return Settings(identity=Identity(trust_header=True), providers=providers)
