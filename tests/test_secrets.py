"""What Envoy reads of secrets, written by hand, against Envoy's own messages; `test_rotation.py` has it made."""

import json
from pathlib import Path

import pytest
from betterproto2 import Casing
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.extensions.filters.http.api_key_auth.v3 import ApiKeyAuth, Credential, Forwarding, KeySource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse

from sidecar.secrets import descriptions
from sidecar.settings import Identity, Settings

HERE = Path("/run/secrets")
SECRETS = {
    "key": descriptions.key("provider-a", HERE / "a.key"),
    "certificate": descriptions.certificate("certificate", HERE / "c.pem", HERE / "k.pem", watched=HERE),
    "authorities": descriptions.authorities("client-authorities", HERE / "ca.pem", watched=HERE),
}


def packed(text: str, kind: type) -> dict:
    """What of the one resource is left when Envoy's message has read it: what it does not know is not."""
    read = DiscoveryResponse.from_dict(json.loads(text)).resources[0].unpack()
    assert isinstance(read, kind)
    return json.loads(json.dumps(read.to_dict(casing=Casing.SNAKE)))


def written(text: str) -> dict:
    (resource,) = json.loads(text)["resources"]
    return {name: value for name, value in resource.items() if name != "@type"}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_what_envoy_takes_for_one(name: str) -> None:
    assert packed(SECRETS[name], Secret) == written(SECRETS[name])


def test_clients_keys_are_what_envoy_takes_for_a_filter(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("aib-0123456789abcdef grace\naib-fedcba9876543210 alan turing\n")
    identity = Identity(source="api_key", keys_file=tmp_path / "keys", token_header="x-token")  # noqa: S106 - a name
    text = descriptions.client_keys(Settings(runtime_dir=tmp_path, identity=identity))
    assert packed(text, TypedExtensionConfig) == written(text)
    found = DiscoveryResponse.from_dict(json.loads(text)).resources[0].unpack().typed_config.unpack()
    assert found == ApiKeyAuth(
        credentials=[
            Credential(key="aib-0123456789abcdef", client="grace"),
            Credential(key="aib-fedcba9876543210", client="alan turing"),
        ],
        key_sources=[KeySource(header="x-token")],
        forwarding=Forwarding(header="x-ai-bridge-actor-client", hide_credentials=True),
    )


def test_a_description_names_where_a_secret_is_and_holds_none() -> None:
    assert all(str(HERE) in text for text in SECRETS.values())
    assert json.loads(SECRETS["key"])["resources"][0]["generic_secret"] == {"secret": {"filename": f"{HERE}/a.key"}}
