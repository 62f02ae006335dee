"""What Envoy is told of secrets and of who holds keys, as JSON (envoy.service.discovery.v3.DiscoveryResponse).

Envoy logs such a file, at `debug`, when it has read it; so what is secret is in another one, which that only names.
Clients' keys are the exception: there is no other way to tell them.

Written by hand, and compared with Envoy's messages by a test: their classes take a second to import, at every change.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from sidecar.core.identity import CLIENT_HEADER
from sidecar.settings import Settings
from sidecar.settings.client_keys import clients
from sidecar.settings.parts import KEYS_FILTER

_TYPES = "type.googleapis.com/envoy"
_SECRET = f"{_TYPES}.extensions.transport_sockets.tls.v3.Secret"


def key(name: str, file: Path) -> str:
    """A provider's key, which is in `file`."""
    return _secret(name, generic_secret={"secret": {"filename": str(file)}})


def certificate(name: str, chain: Path | None, private: Path | None, *, watched: Path) -> str:
    """What is shown to others; read anew when a file takes another's place in the folder `watched`."""
    own = {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(private)}}
    return _secret(name, tls_certificate={**own, "watched_directory": {"path": str(watched)}})


def authorities(name: str, pem: Path | None, *, watched: Path) -> str:
    """What others are judged by; likewise."""
    known = {"trusted_ca": {"filename": str(pem)}, "watched_directory": {"path": str(watched)}}
    return _secret(name, validation_context=known)


def client_keys(settings: Settings) -> str:
    """The clients' keys, themselves: a secret. Raises BadSetting for a wrong one of theirs."""
    found = clients(settings.identity.keys_file) if settings.identity.keys_file else ()
    config = {
        "@type": f"{_TYPES}.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        "credentials": [{"key": key.get_secret_value(), "client": actor} for key, actor in found],
        "key_sources": [{"header": settings.identity.token_header}],
        "forwarding": {"header": CLIENT_HEADER, "hide_credentials": True},
    }
    return _response(f"{_TYPES}.config.core.v3.TypedExtensionConfig", {"name": KEYS_FILTER, "typed_config": config})


def _secret(name: str, **what: Mapping[str, object]) -> str:
    return _response(_SECRET, {"name": name, **what})


def _response(kind: str, resource: Mapping[str, object]) -> str:
    return json.dumps({"resources": [{"@type": kind, **resource}]})
