"""What the sections about who asks become."""

import json
from ipaddress import ip_network
from pathlib import Path

import pytest

from sidecar.core.errors import BadSetting
from sidecar.core.permissions import Permission
from sidecar.core.policy import Source
from sidecar.settings import Settings, load

ISSUER = """
[[issuers]]
issuer = "https://i.example"
audiences = ["us"]
"""
TLS = 'tls = {cert_file = "file", key_file = "file", client_ca_file = "file"}\n'


def written(text: str) -> Settings:
    Path("file").write_text("aib-0123456789abcdef grace")
    Path("jwks.json").write_text(json.dumps({"keys": [{"kty": "RSA"}]}))
    Path("some.toml").write_text(text, "utf-8")
    return load(Path("some.toml"))


def test_the_core_is_told_which_header_holds_a_credential() -> None:
    """That one is dropped, and nobody's key for a provider."""
    jwt = written(f'identity = {{source = "jwt", token_header = "X-Token"}}\n{ISSUER}jwks_file = "jwks.json"').policy()
    keys = written('identity = {source = "api_key", keys_file = "file"}').policy()
    mtls = written(f'{TLS}identity = {{source = "mtls"}}').policy()
    assert (jwt.source, jwt.identity_header) == (Source.JWT, "x-token")
    assert (keys.source, keys.identity_header) == (Source.API_KEY, "authorization")
    assert (mtls.source, mtls.identity_header) == (Source.MTLS, "x-forwarded-user")


def test_the_core_is_told_what_names_the_actor_and_from_where() -> None:
    identity = written('identity = {trusted_cidrs = ["10.0.0.0/8", "fd00::/8"]}').policy()
    assert identity.trusted == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    jwt = written(
        f'identity = {{source = "jwt", claim = "email", metadata_claims = ["a", "b"]}}\n{ISSUER}jwks_file = "jwks.json"'
    ).policy()
    assert (jwt.claim, jwt.metadata_claims) == ("email", ("a", "b"))


def test_policies_keep_their_order() -> None:
    rules = 'policies = [{action = "allow", models = ["*-mini"]}, {actors = ["x"], providers = ["y"]}, {}]'
    assert written(rules).policy().permissions == (
        Permission(allows=True, models=("*-mini",)),
        Permission(allows=False, actors=("x",), providers=("y",)),
        Permission(allows=False),
    )


@pytest.mark.parametrize(
    "text",
    [
        "identity = {trust_header = true}",
        'identity = {trusted_cidrs = ["10.0.0.0/8"]}',
        f'identity = {{source = "jwt"}}\n{ISSUER}jwks_file = "jwks.json"',
        'identity = {source = "api_key", keys_file = "file"}',
        f'{TLS}identity = {{source = "mtls"}}',
    ],
)
def test_others_may_reach_what_believes_nobody(text: str) -> None:
    assert written(f'listen = "0.0.0.0:10000"\n{text}').listen == "0.0.0.0:10000"


@pytest.mark.parametrize("url", ["https://i.example/keys?p=a", "http://127.0.0.1:1/keys", "https://[::1]/keys"])
def test_an_issuer_s_keys_may_be_fetched(url: str) -> None:
    settings = written(f'identity = {{source = "jwt"}}\n{ISSUER}jwks_url = "{url}"')
    assert settings.issuers[0].jwks_url == url
    assert (settings.issuers[0].ca_file is None) == url.startswith("http:")


@pytest.mark.parametrize("url", ["https://i.example/a b", "ftp://i.example", "https://i.example/#x", "https:///keys"])
def test_other_places_are_none(url: str) -> None:
    with pytest.raises(BadSetting, match=r"jwks_url = .*: allowed: https://host/path, without user or fragment"):
        written(f'identity = {{source = "jwt"}}\n{ISSUER}jwks_url = "{url}"')


@pytest.mark.parametrize("held", ["", "[]", "{}", '{"keys": []}', '{"keys": {}}', '{"keys": 1}', "null"])
def test_what_holds_no_key_is_no_key_set(held: str) -> None:
    Path("empty.json").write_text(held)
    with pytest.raises(BadSetting, match="allowed: a file with a JSON Web Key Set"):
        written(f'identity = {{source = "jwt"}}\n{ISSUER}jwks_file = "empty.json"')


@pytest.mark.parametrize(
    "held",
    [
        json.dumps({"keys": [{"kty": "RSA"}]}).encode("utf-16"),
        b'\xef\xbb\xbf{"keys": [{"kty": "RSA"}]}',
        b'{"keys": ' + b"[" * 100_000,
    ],
)
def test_what_envoy_would_not_read_is_no_key_set(held: bytes) -> None:
    Path("odd.json").write_bytes(held)
    with pytest.raises(BadSetting, match="allowed: a file with a JSON Web Key Set"):
        written(f'identity = {{source = "jwt"}}\n{ISSUER}jwks_file = "odd.json"')


def test_an_issuer_has_its_keys_in_one_place() -> None:
    both = 'jwks_file = "jwks.json"\njwks_url = "https://i.example/keys"'
    with pytest.raises(BadSetting, match=r"^issuers\[0\].jwks_file = .*: allowed: either jwks_file or jwks_url$"):
        written(f'identity = {{source = "jwt"}}\n{ISSUER}{both}')
