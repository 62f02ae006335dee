import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and an environment that says nothing."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper().startswith(("AIBRIDGE_", "OPENAI_", "OTEL_", "SSL_CERT_")):
            monkeypatch.delenv(name)
    return tmp_path
