import pickle
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sidecar.bootstrap import render
from sidecar.settings import (
    Credentials,
    Identity,
    Issuer,
    Limits,
    Provider,
    Recorder,
    Settings,
    Telemetry,
    Tls,
    defaults,
)
from tests import binary

ROOT = Path(__file__).parents[2]


def rendered(**settings: object) -> dict:
    return yaml.safe_load(render(Settings(**settings)))


def manager(bootstrap: dict) -> dict:
    return bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def routes(bootstrap: dict) -> dict[str, dict]:
    return {route["name"]: route for route in manager(bootstrap)["route_config"]["virtual_hosts"][0]["routes"]}


def http_filters(bootstrap: dict) -> dict[str, dict]:
    return {entry["name"].rpartition(".")[2]: entry["typed_config"] for entry in manager(bootstrap)["http_filters"]}


def clusters(bootstrap: dict) -> dict[str, dict]:
    return {cluster["name"]: cluster for cluster in bootstrap["static_resources"]["clusters"]}


def addresses(cluster: dict) -> list[dict]:
    members = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    return [member["endpoint"]["address"] for member in members]


def test_the_committed_bootstrap_is_current() -> None:
    """`make envoy-yaml` renders it anew."""
    assert (ROOT / "envoy/envoy.yaml").read_text("utf-8") == render(defaults())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"listen": "[::1]:10000", "admin": "[::1]:9901", "workers": 64},
        {"listen": "0.0.0.0:10000", "identity": Identity(trust_header=True)},
        {"providers": [Provider(base_url="http://127.0.0.1:8080")]},
        {"providers": [Provider(base_url="https://[::1]:8443/v1")]},
        {"providers": [Provider(base_url="http://proxy.internal/a/b", allow_http=True)]},
        {"providers": [Provider(), Provider(name="eu", base_url="https://eu.api.openai.com/v1")]},
        {"providers": [Provider(retry_on=["429"]), Provider(name="eu", retry_on=["5xx"], max_retries=0)]},
        {"providers": [Provider(retry_on=["429", "503", "5xx"], max_retries=10)]},
        {"telemetry": Telemetry(otlp_endpoint="http://127.0.0.1:4317")},
        {"telemetry": Telemetry(otlp_endpoint="http://collector.internal:4318")},
        {"telemetry": Telemetry(otlp_endpoint="https://otlp.example.com/v1/traces")},
        {"recorder": Recorder(on_worker_loss="cut")},
        {"limits": Limits(max_request_bytes=1, max_concurrent_streams=1, request_timeout=0.1, idle_timeout=86_400)},
    ],
)
def test_envoy_accepts_it_without_a_warning(settings: dict, tmp_path: Path) -> None:
    """A deprecated field is one, too."""
    (tmp_path / "run").mkdir()
    config = tmp_path / "envoy.yaml"
    config.write_text(render(Settings(runtime_dir=tmp_path / "run", **settings)), "utf-8")
    command = [binary.envoy(), "--mode", "validate", "-l", "warning", "-c", config]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"configuration '{config}' OK\n", "")


def test_a_request_passes_only_with_the_verdict_of_this_start() -> None:
    chain = http_filters(rendered(verdict="v-1"))
    assert list(chain) == ["header_mutation", "health_check", "set_filter_state", "ext_proc", "rbac", "router"]
    assert chain["ext_proc"]["failure_mode_allow"] is True
    assert list(chain["rbac"]["rules"]["policies"].values()) == [
        {
            "permissions": [{"any": True}],
            "principals": [
                {
                    "sourced_metadata": {
                        "metadata_matcher": {
                            "filter": "aibridge.verdict",
                            "path": [{"key": "decision"}],
                            "value": {"string_match": {"exact": "v-1"}},
                        }
                    }
                }
            ],
        }
    ]


def test_the_sidecar_is_asked_where_a_route_goes_to_a_provider_and_the_verdict_is_demanded_everywhere() -> None:
    """What has no route, as what is no HTTP, Envoy answers by itself; a route that forgets it leads nowhere."""
    found = manager(rendered(providers=[Provider(name="openai"), Provider(name="other", base_url="http://127.0.0.1")]))
    off = {each["name"].rpartition(".")[2] for each in found["http_filters"] if each.get("disabled")}
    assert off == {"ext_proc"}
    kind = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
    for route in found["route_config"]["virtual_hosts"][0]["routes"]:
        if "route" in route:
            assert route["typed_per_filter_config"] == {"envoy.filters.http.ext_proc": {"@type": kind, "overrides": {}}}
        else:
            assert "direct_response" in route


def test_envoy_refuses_before_it_has_more_memory_than_it_may() -> None:
    overload = rendered(limits=Limits(max_envoy_bytes=7_000_000))["overload_manager"]
    (heap,) = (each for each in overload["resource_monitors"] if each["name"].endswith("fixed_heap"))
    assert heap["typed_config"]["max_heap_size_bytes"] == "7000000"
    (refuses,) = (each for each in overload["actions"] if each["name"].endswith("stop_accepting_requests"))
    assert refuses["triggers"] == [{"name": heap["name"], "threshold": {"value": 0.95}}]
    (cuts,) = overload["loadshed_points"]
    assert cuts["triggers"] == [{"name": heap["name"], "threshold": {"value": 0.97}}]


def test_envoy_resets_streams_for_as_long_as_there_is_too_much() -> None:
    """It does so only where its pressure changed, so there is a measure that does not end where there is too much."""
    overload = rendered(limits=Limits(max_envoy_bytes=7_000_000))["overload_manager"]
    (resets,) = (each for each in overload["actions"] if each["name"].endswith("reset_high_memory_stream"))
    (trigger,) = resets["triggers"]
    (beyond,) = (each for each in overload["resource_monitors"] if each["name"] == trigger["name"])
    assert beyond["typed_config"]["max_heap_size_bytes"] == "14000000"
    assert trigger["scaled"] == {"scaling_threshold": 0.475, "saturation_threshold": 1.0}


def test_what_is_not_recorded_is_cut_on_demand_and_nothing_else_changes() -> None:
    """Requests still need a verdict. Two answers more: ext_proc refuses by itself, in its own words."""
    usual, strict = rendered(), rendered(recorder=Recorder(on_worker_loss="cut"))
    assert http_filters(strict)["ext_proc"].pop("failure_mode_allow", False) is False
    assert http_filters(usual)["ext_proc"].pop("failure_mode_allow") is True
    replies = manager(strict)["local_reply_config"]["mappers"]
    more = [replies.pop(0) for _ in range(2)]
    assert [one["status_code"] for one in more] == [500, 500]
    assert strict == usual


def test_the_sidecar_is_sent_nothing_that_it_does_not_read() -> None:
    """Every attribute and every header of the call costs both sides time, for each request."""
    ext_proc = http_filters(rendered())["ext_proc"]
    assert ext_proc["response_attributes"] == ["response.code_details"]
    assert "request_attributes" not in ext_proc
    assert "initial_metadata" not in ext_proc["grpc_service"]


@pytest.mark.parametrize(
    ("base_url", "rewrite", "host"),
    [
        ("https://api.openai.com/v1", "/v1/", "api.openai.com"),
        ("https://api.openai.com:443/v1", "/v1/", "api.openai.com"),
        ("https://api.openai.com:8443/a/b/", "/a/b/", "api.openai.com:8443"),
        ("http://127.0.0.1:80", "/", "127.0.0.1"),
        ("http://[::1]:8080/v1", "/v1/", "[::1]:8080"),
    ],
)
def test_a_provider_is_reached_under_its_name(base_url: str, rewrite: str, host: str) -> None:
    route = routes(rendered(providers=[Provider(name="eu", base_url=base_url)]))["eu"]
    assert route["match"] == {"prefix": "/eu/v1/"}
    assert int(route["request_body_buffer_limit"]) == 33_554_432
    action = route["route"]
    assert (action["cluster"], action["prefix_rewrite"], action["host_rewrite_literal"]) == (
        "provider-eu",
        rewrite,
        host,
    )
    assert action["timeout"] == "0s"


UNBILLED = "connect-failure,refused-stream,reset-before-request"
BACK_OFF = {"base_interval": "0.250s", "max_interval": "8s"}
RETRY_AFTER = {"reset_headers": [{"name": "retry-after"}], "max_interval": "86400s"}


@pytest.mark.parametrize(
    ("provider", "policy"),
    [
        (Provider(max_retries=0, retry_on=["5xx"]), None),
        (Provider(), {"retry_on": UNBILLED, "num_retries": 2, "retry_back_off": BACK_OFF}),
        (
            Provider(max_retries=1, retry_on=["429", "503"]),
            {
                "retry_on": f"{UNBILLED},retriable-status-codes",
                "num_retries": 1,
                "retriable_status_codes": [429, 503],
                "retry_back_off": BACK_OFF,
                "rate_limited_retry_back_off": RETRY_AFTER,
            },
        ),
        (
            Provider(retry_on=["5xx"]),
            {
                "retry_on": f"{UNBILLED},retriable-headers",
                "num_retries": 2,
                "retriable_headers": [{"name": ":status", "string_match": {"prefix": "5"}}],
                "retry_back_off": BACK_OFF,
                "rate_limited_retry_back_off": RETRY_AFTER,
            },
        ),
    ],
)
def test_what_a_provider_may_have_billed_is_retried_only_on_demand(provider: Provider, policy: dict | None) -> None:
    assert routes(rendered(providers=[provider]))["openai"]["route"].get("retry_policy") == policy


def test_a_certificate_must_be_the_hosts_own(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.touch()
    providers = [
        Provider(name="name", base_url="https://h.example/v1", ca_file=authorities),
        Provider(name="address", base_url="https://[::1]/v1"),
    ]
    found = clusters(rendered(providers=providers, runtime_dir=tmp_path))
    name, address = (found[f"provider-{key}"]["transport_socket"]["typed_config"] for key in ("name", "address"))
    assert (name["sni"], address.get("sni")) == ("h.example", None)
    assert name["common_tls_context"]["combined_validation_context"] == {
        "default_validation_context": {
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "h.example"}}],
        },
        "validation_context_sds_secret_config": {
            "name": "provider-name.authorities",
            "sds_config": {
                "path_config_source": {"path": str(tmp_path / "secrets/provider-name.authorities.json")},
                "resource_api_version": "V3",
            },
        },
    }
    assert address["common_tls_context"]["validation_context"] == {
        "trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"},
        "match_typed_subject_alt_names": [{"san_type": "IP_ADDRESS", "matcher": {"exact": "::1"}}],
    }


def test_the_key_that_envoy_adds_is_added_last_and_is_named_by_its_file(tmp_path: Path) -> None:
    """Behind all that says what it sees; a client's own stays where one may stand."""
    own = {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-canary-0a1b2c3d4e5f6071"}
    providers = [
        Provider(name="a", **own),
        Provider(name="b", **own, byok=False, auth_header="api-key"),
        Provider(name="c", base_url="http://127.0.0.1:9/v1"),
    ]
    settings = {"providers": providers, "runtime_dir": tmp_path, "credentials": Credentials(inject_by="envoy")}
    found = clusters(rendered(**settings))
    chains = [last_hop(found[f"provider-{name}"]) for name in "abc"]
    assert [list(chain) for chain in chains] == [
        *[["header_mutation", "credential_injector", "upstream_codec"]] * 2,
        ["header_mutation", "upstream_codec"],
    ]
    first, second = (chain["credential_injector"] for chain in chains[:2])
    assert (first.get("overwrite", False), second["overwrite"]) == (False, True)
    generic = second["credential"]["typed_config"]
    assert (generic["header"], generic["credential"]["name"]) == ("api-key", "provider-b")
    assert "sk-canary" not in str(found)
    by_token = rendered(**settings, identity=Identity(source="api_key", keys_file=touched(tmp_path / "keys")))
    assert last_hop(clusters(by_token)["provider-a"])["credential_injector"]["overwrite"] is True
    strict = rendered(providers=providers, runtime_dir=tmp_path)
    assert "credential_injector" not in str(strict)


def last_hop(cluster: dict) -> dict[str, dict]:
    (options,) = cluster["typed_extension_protocol_options"].values()
    return {one["name"].rpartition(".")[2]: one["typed_config"] for one in options["http_filters"]}


def touched(file: Path) -> Path:
    file.touch()
    return file


def test_all_tls_is_1_2_at_least(tmp_path: Path) -> None:
    """RFC 8996; said in as many words, whatever Envoy's defaults become."""
    authorities, issuer = (
        touched(tmp_path / "ca.pem"),
        Issuer(issuer="i", audiences=("a",), jwks_url="https://i.example"),
    )
    wanted = rendered(
        providers=[Provider(name="a"), Provider(name="b", ca_file=authorities)],
        tls=Tls(cert_file=authorities, key_file=authorities),
        identity=Identity(source="jwt"),
        issuers=[issuer],
        telemetry=Telemetry(otlp_endpoint="https://127.0.0.1:4317"),
        runtime_dir=tmp_path,
    )
    chains = wanted["static_resources"]["listeners"][0]["filter_chains"]
    sockets = [one["transport_socket"] for one in (*clusters(wanted).values(), *chains) if "transport_socket" in one]
    found = [socket["typed_config"]["common_tls_context"]["tls_params"] for socket in sockets]
    assert found == [{"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}] * 5


@pytest.mark.parametrize(
    ("base_url", "kind", "protocols"),
    [
        ("https://api.openai.com/v1", "envoy.cluster.dns", "auto_config"),
        ("https://127.0.0.1/v1", "STATIC", "auto_config"),
        ("http://localhost:8080/v1", "envoy.cluster.dns", "explicit_http_config"),
        ("http://127.0.0.1:8080/v1", "STATIC", "explicit_http_config"),
    ],
)
def test_http2_is_spoken_where_tls_offers_it(base_url: str, kind: str, protocols: str) -> None:
    cluster = clusters(rendered(providers=[Provider(base_url=base_url)]))["provider-openai"]
    options = next(iter(cluster["typed_extension_protocol_options"].values()))
    assert (cluster["cluster_type"]["name"] if "cluster_type" in cluster else cluster["type"]) == kind
    assert protocols in options
    assert ("http2_protocol_options" in options[protocols]) == (protocols == "auto_config")


@pytest.mark.parametrize("base_url", ["https://api.openai.com/v1", "http://localhost:8080/v1"])
def test_a_provider_is_one_endpoint_at_all_of_its_addresses(base_url: str) -> None:
    found = clusters(rendered(providers=[Provider(base_url=base_url)]))["provider-openai"]["cluster_type"][
        "typed_config"
    ]
    assert found["respect_dns_ttl"]
    assert found["all_addresses_in_single_endpoint"]
    assert found["dns_lookup_family"] == "ALL"  # one family may lead nowhere


def test_a_connection_on_which_nothing_comes_is_kept_or_found_dead() -> None:
    """The way to a provider may be gone without a word, and whatever is between forgets who is silent."""
    found = rendered()
    provider = clusters(found)["provider-openai"]
    (option,) = provider["upstream_bind_config"]["socket_options"]
    assert (option["level"], option["name"]) == (str(socket.IPPROTO_TCP), str(socket.TCP_USER_TIMEOUT))
    # A ping would wait behind a large request that goes out slowly, and end it.
    assert "connection_keepalive" not in repr(provider)
    (listener,) = found["static_resources"]["listeners"]
    assert provider["upstream_connection_options"]["tcp_keepalive"] == listener["tcp_keepalive"]
    assert listener["tcp_keepalive"] == {"keepalive_time": 30, "keepalive_interval": 10, "keepalive_probes": 3}
    assert option["int_value"] == "60000"  # else the loss of one probe would end it: tcp(7)


def test_a_provider_is_told_the_scheme_of_its_own_connection() -> None:
    assert manager(rendered())["scheme_header_transformation"] == {"match_upstream": True}


def test_a_name_that_nobody_finds_delays_the_start_by_little() -> None:
    """Providers are looked up before clients are served, a collector beside them."""
    found = clusters(rendered(telemetry=Telemetry(otlp_endpoint="http://collector.example:4317")))
    resolver = found["provider-openai"]["cluster_type"]["typed_config"]["typed_dns_resolver_config"]["typed_config"]
    assert resolver["query_timeout_seconds"] * resolver["query_tries"] <= 4
    assert resolver["reinit_channel_on_timeout"]  # the network may be another by then
    assert found["otlp"]["wait_for_warm_on_init"] is False


def test_each_worker_is_an_endpoint(tmp_path: Path) -> None:
    cluster = clusters(rendered(workers=2, runtime_dir=tmp_path))["sidecar"]
    assert addresses(cluster) == [
        {"pipe": {"path": f"{tmp_path}/worker-0.sock"}},
        {"pipe": {"path": f"{tmp_path}/worker-1.sock"}},
    ]


def test_traces_are_off_unless_there_is_a_collector() -> None:
    bootstrap = rendered()
    assert "tracing" not in manager(bootstrap)
    assert list(clusters(bootstrap)) == ["sidecar", "provider-openai"]


@pytest.mark.parametrize(
    ("endpoint", "port", "exporter"),
    [
        (
            "http://127.0.0.1",
            80,
            {"grpc_service": {"envoy_grpc": {"cluster_name": "otlp"}, "timeout": "5s"}},
        ),
        (
            "http://127.0.0.1:4318",
            4318,
            {
                "http_service": {
                    "http_uri": {"uri": "http://127.0.0.1:4318/v1/traces", "cluster": "otlp", "timeout": "5s"}
                }
            },
        ),
    ],
)
def test_traces_go_to_the_collector(endpoint: str, port: int, exporter: dict) -> None:
    bootstrap = rendered(telemetry=Telemetry(otlp_endpoint=endpoint))
    config = manager(bootstrap)["tracing"]["provider"]["typed_config"]
    assert {key: config[key] for key in exporter} == exporter
    assert addresses(clusters(bootstrap)["otlp"]) == [{"socket_address": {"address": "127.0.0.1", "port_value": port}}]


def test_no_credential_is_in_it() -> None:
    """It is a file; the keys stay in the sidecar's memory."""
    provider = Provider(api_key="sk-secret", extra_headers={"x-key": "sk-secret"})
    assert "sk-secret" not in render(Settings(providers=[provider]))


def test_up_takes_no_more_connections_than_there_are_files_for() -> None:
    """Where files run out first, Envoy spins and answers nobody."""

    def connections(limit: str) -> int:
        command = ["sh", "-c", f'{limit}exec "$0" -P -m sidecar.bootstrap', sys.executable]
        made = subprocess.run(command, input=pickle.dumps(Settings()), check=True, capture_output=True)
        monitors = yaml.safe_load(made.stdout)["overload_manager"]["resource_monitors"]
        (found,) = (each["typed_config"] for each in monitors if each["name"].endswith("max_connections"))
        return int(found["max_active_downstream_connections"])

    assert connections("ulimit -n 1000; ") == 400
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert connections("") == (50_000 if files < 0 else min(50_000, (files - 200) // 2))
