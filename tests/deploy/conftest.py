"""What is beyond a mesh: a provider that speaks TLS, and is known by its name."""

import ssl
from collections.abc import Iterator

import pytest
import trustme

from examples.provider import Provider, ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY
from tests.e2e.scripts import Script


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who has issued the provider's certificate."""
    return trustme.CA()


@pytest.fixture(scope="session")
def beyond(script: Script, authority: trustme.CA) -> Iterator[ThreadedProvider]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ThreadedProvider(Provider(script, pace=0, tls=context)) as running:
        yield running


@pytest.fixture(scope="session")
def named(
    beyond: ThreadedProvider, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, object]:
    """Its settings: a mesh needs a name."""
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    url = f"https://localhost:{beyond.url.rpartition(':')[2]}/v1"
    return {"name": "openai", "base_url": url, "api_key": CENTRAL_KEY, "byok": False, "ca_file": str(file)}
