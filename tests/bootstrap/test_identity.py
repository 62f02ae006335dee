"""What Envoy is told to prove; `e2e/test_identity_*.py` has it do so."""

import json
import subprocess
from pathlib import Path

import pytest
import trustme
import yaml

from sidecar.bootstrap import identity, render
from sidecar.secrets.files import outcomes
from sidecar.settings import Identity, Issuer, Settings, Tls
from sidecar.settings.parts import Order, parts
from tests import binary
from tests.e2e.identities import Signer

KEY = "aib-0123456789abcdef"
USUAL = ["header_mutation", "health_check", "set_filter_state", "ext_proc", "rbac", "router"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a file of each kind that settings name, and the one that Envoy wants to be there."""
    made = tmp_path_factory.mktemp("files")
    (made / "run").mkdir()
    (made / "jwks.json").write_text(json.dumps(Signer().jwks()))
    (made / "keys").write_text(f"{KEY} grace\n")
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(made / "ca.pem"))
    own.private_key_pem.write_to_path(str(made / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(made / "cert.pem"))
    for source in ("api_key", "mtls", "jwt"):
        wanted = settings(made, source)
        (outcome,) = outcomes(Order(settings=wanted, parts=tuple(parts(wanted)), proves=True))
        assert outcome.made
    return made


def settings(folder: Path, source: str) -> Settings:
    local = Issuer(issuer="https://a.example", audiences=("us", "them"), jwks_file=folder / "jwks.json")
    remote = Issuer(issuer="https://b.example", audiences=("us",), jwks_url="https://b.example:8443/keys?p=1")
    tls = Tls(cert_file=folder / "cert.pem", key_file=folder / "key.pem", client_ca_file=folder / "ca.pem")
    near = Issuer(issuer="https://c.example", audiences=("us",), jwks_url="http://127.0.0.1/keys")
    how = {
        "header": {"identity": Identity(trusted_cidrs=("10.0.0.0/8",))},
        "jwt": {"identity": Identity(source="jwt"), "issuers": (local,)},
        "jwts": {
            "identity": Identity(source="jwt", token_header="x-token"),  # noqa: S106 - a name
            "issuers": (local, remote, near),
        },
        "mtls": {"identity": Identity(source="mtls"), "tls": tls},
        "api_key": {"identity": Identity(source="api_key", keys_file=folder / "keys")},
    }[source]
    return Settings(runtime_dir=folder / "run", **how)


def rendered(folder: Path, source: str) -> dict:
    return yaml.safe_load(render(settings(folder, source)))["static_resources"]


def chain(static: dict) -> dict[str, dict]:
    manager = static["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return {one["name"].rpartition(".")[2]: one for one in manager["http_filters"]}


def ext_proc(static: dict) -> dict:
    return chain(static)["ext_proc"]["typed_config"]


@pytest.mark.parametrize("source", ["header", "jwt", "jwts", "mtls", "api_key"])
def test_envoy_accepts_it_without_a_warning(source: str, folder: Path) -> None:
    config = folder / f"{source}.yaml"
    config.write_text(render(settings(folder, source)))
    command = [binary.envoy(), "--mode", "validate", "-l", "warning", "-c", config]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"configuration '{config}' OK\n", "")


def test_who_cannot_prove_it_is_refused_before_the_sidecar_is_asked(folder: Path) -> None:
    for source, name in (("jwt", "jwt_authn"), ("api_key", "api_key_auth")):
        assert list(chain(rendered(folder, source))) == [*USUAL[:3], name, *USUAL[3:]]
    for source in ("header", "mtls"):
        assert list(chain(rendered(folder, source))) == USUAL


def test_what_envoy_answers_by_itself_needs_no_proof(folder: Path) -> None:
    for source, name in (("jwt", "jwt_authn"), ("api_key", "api_key_auth")):
        manager = rendered(folder, source)["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        routes = {route["name"]: route for route in manager["route_config"]["virtual_hosts"][0]["routes"]}
        for route in ("connect", "nowhere"):
            assert f"envoy.filters.http.{name}" in routes[route]["typed_per_filter_config"]
        assert list(routes["openai"]["typed_per_filter_config"]) == ["envoy.filters.http.ext_proc"]


def tokens(folder: Path, source: str) -> dict:
    (resource,) = json.loads(identity.issuer_keys(settings(folder, source)))["resources"]
    return resource["typed_config"]


def test_key_sets_in_files_are_in_a_file_that_envoy_looks_at_again(folder: Path) -> None:
    """Where all are fetched the filter is in the bootstrap."""
    path = {"path": str(folder / "run/issuer-keys.json")}
    found = chain(rendered(folder, "jwt"))["jwt_authn"]["config_discovery"]
    assert found["config_source"]["path_config_source"] == path
    near = Issuer(issuer="https://c.example", audiences=("us",), jwks_url="http://127.0.0.1/keys")
    static = yaml.safe_load(render(Settings(identity=Identity(source="jwt"), issuers=(near,))))["static_resources"]
    assert list(chain(static)["jwt_authn"]["typed_config"]["providers"]) == ["issuer-0"]


def test_a_token_is_of_a_known_issuer_for_us_and_has_an_end(folder: Path) -> None:
    config = tokens(folder, "jwts")
    local, remote, _ = config["providers"].values()
    assert local == {
        "issuer": "https://a.example",
        "audiences": ["us", "them"],
        "require_expiration": True,
        "local_jwks": {"inline_string": (folder / "jwks.json").read_text()},
        "from_headers": [{"name": "x-token"}],
        "payload_in_metadata": "aibridge",
    }
    assert remote["remote_jwks"]["http_uri"] == {
        "uri": "https://b.example:8443/keys?p=1",
        "cluster": "issuer-1",
        "timeout": "5s",
    }
    (rule,) = config["rules"]
    assert rule["match"] == {"prefix": "/"}
    assert [one["provider_name"] for one in rule["requires"]["requires_any"]["requirements"]] == [
        "issuer-0",
        "issuer-1",
        "issuer-2",
    ]


def test_in_authorization_a_token_is_a_bearers(folder: Path) -> None:
    config = tokens(folder, "jwt")
    assert config["providers"]["issuer-0"]["from_headers"] == [{"name": "authorization", "value_prefix": "Bearer "}]
    assert config["rules"][0]["requires"] == {"provider_name": "issuer-0"}


def test_an_issuers_keys_are_fetched_from_itself_alone(folder: Path) -> None:
    found = {cluster["name"]: cluster for cluster in rendered(folder, "jwts")["clusters"]}
    assert [name for name in found if name.startswith("issuer")] == ["issuer-1", "issuer-2"]
    remote, near = found["issuer-1"], found["issuer-2"]
    validation = remote["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
    assert validation["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "b.example"}}]
    (endpoint,) = remote["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "b.example", "port_value": 8443}
    assert ("transport_socket" in near, near["type"]) == (False, "STATIC")


def test_the_sidecar_is_told_what_names_the_actor_and_no_more(folder: Path) -> None:
    forwarded = {"untyped": ["envoy.filters.http.jwt_authn"]}
    assert ext_proc(rendered(folder, "jwt"))["metadata_options"]["forwarding_namespaces"] == forwarded
    assert "request_attributes" not in ext_proc(rendered(folder, "jwt"))
    assert ext_proc(rendered(folder, "header"))["request_attributes"] == ["source.address"]
    assert ext_proc(rendered(folder, "mtls"))["request_attributes"] == [
        "connection.uri_san_peer_certificate",
        "connection.dns_san_peer_certificate",
    ]
    assert "forwarding_namespaces" not in ext_proc(rendered(folder, "mtls"))["metadata_options"]


def test_a_client_needs_a_certificate_and_no_old_tls(folder: Path) -> None:
    """RFC 8996: below 1.2 nothing."""
    (socket,) = (one["transport_socket"] for one in rendered(folder, "mtls")["listeners"][0]["filter_chains"])
    context = socket["typed_config"]
    assert context["require_client_certificate"] is True
    assert context["common_tls_context"] == {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [by_file(folder, "certificate")],
        "validation_context_sds_secret_config": by_file(folder, "client-authorities"),
        "alpn_protocols": ["h2", "http/1.1"],
    }


def read(file: Path) -> dict:
    """The one resource that Envoy finds there."""
    (found,) = json.loads(file.read_text())["resources"]
    return found


def by_file(folder: Path, name: str) -> dict:
    path = {"path": str(folder / f"run/secrets/{name}.json")}
    return {"name": name, "sds_config": {"path_config_source": path, "resource_api_version": "V3"}}


def test_certificates_are_named_where_envoy_looks_again(folder: Path) -> None:
    """And what it reads there, which it logs, holds none of them."""
    own, known = (read(folder / f"run/secrets/{name}.json") for name in ("certificate", "client-authorities"))
    watched = {"watched_directory": {"path": str(folder / "run/secrets")}}
    assert own["tls_certificate"] == {
        "certificate_chain": {"filename": str(folder / "cert.pem")},
        "private_key": {"filename": str(folder / "key.pem")},
        **watched,
    }
    assert known["validation_context"] == {"trusted_ca": {"filename": str(folder / "ca.pem")}, **watched}


def test_tls_alone_asks_for_no_certificate(folder: Path) -> None:
    tls = Tls(cert_file=folder / "cert.pem", key_file=folder / "key.pem")
    static = yaml.safe_load(render(Settings(tls=tls)))["static_resources"]
    context = static["listeners"][0]["filter_chains"][0]["transport_socket"]["typed_config"]
    assert "require_client_certificate" not in context
    assert "validation_context" not in context["common_tls_context"]


def test_keys_are_in_a_file_of_their_own(folder: Path) -> None:
    """Envoy takes them as they are; the bootstrap, which may be printed, says only where that file is."""
    wanted = settings(folder, "api_key")
    assert KEY not in render(wanted)
    assert "typed_config" not in chain(rendered(folder, "api_key"))["api_key_auth"]
    resource = read(folder / "run/client-keys.json")
    config = resource["typed_config"]
    assert resource["name"] == "envoy.filters.http.api_key_auth"
    assert config["credentials"] == [{"key": KEY, "client": "grace"}]
    assert config["key_sources"] == [{"header": "authorization"}]
    assert config["forwarding"] == {"header": "x-ai-bridge-actor-client", "hide_credentials": True}


@pytest.mark.parametrize("source", ["header", "jwt", "mtls", "api_key"])
def test_whose_key_it_is_no_client_says(source: str, folder: Path) -> None:
    mutations = chain(rendered(folder, source))["header_mutation"]["typed_config"]["mutations"]
    assert mutations["request_mutations"] == [{"remove": "x-ai-bridge-actor-client"}]
