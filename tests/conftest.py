"""What tests of several folders share: hypothesis' profiles, and the bridge they go through."""

import hashlib
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from examples.provider import Provider, ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, Bridge, bridge
from tests.e2e.forms import FULL, SHORT, Form
from tests.e2e.scripts import Script
from tests.e2e.traffic import answer
from tests.postgres import Postgres

# No deadlines, for one example or for the first few: a machine that others use too proves nothing by being slow.
SLOW = [HealthCheck.too_slow]
# The same examples in every run; `make fuzz` looks further.
settings.register_profile("test", deadline=None, suppress_health_check=SLOW, derandomize=True, print_blob=True)
settings.register_profile("fuzz", deadline=None, suppress_health_check=SLOW, max_examples=10_000, print_blob=True)
settings.load_profile("test")

StartBridge = Callable[..., Bridge]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="Crashes and outages in full, instead of their short forms.")


@pytest.fixture(scope="session")
def form(request: pytest.FixtureRequest) -> Form:
    """How long tests of crashes and outages last."""
    return FULL if request.config.getoption("soak") else SHORT


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder for a bridge that forwards: its journal must not be on a tmpfs, which `tmp_path` may be on."""
    with tempfile.TemporaryDirectory(prefix="aibridge-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> str:
    """A name for this test's exchange: what the provider answers by, and the session it is recorded under."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]


@pytest.fixture(scope="session")
def script() -> Script:
    return Script()


@pytest.fixture(scope="session")
def provider(script: Script) -> Iterator[ThreadedProvider]:
    with ThreadedProvider(Provider(script, pace=0)) as running:
        yield running


@pytest.fixture
def slow_provider() -> Iterator[ThreadedProvider]:
    """One whose answers take their time, and that remembers who asked."""
    with ThreadedProvider(Provider(answer)) as running:
        yield running


@pytest.fixture(scope="session")
def nobody() -> Iterator[str]:
    """A URL at which connections are refused: the port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for each test process, started by the first who asks. Who stops it starts it again."""
    with Postgres() as running:
        yield running


@pytest.fixture
def fresh_database(postgres: Postgres) -> Iterator[str]:
    """The URL of a new, empty database on that server."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider, nobody: str) -> Iterator[Bridge]:
    """The bridge of those who do it no harm. Its providers differ in how they are reached; all but `gone` are one."""
    here, key = f"{provider.url}/v1", CENTRAL_KEY
    providers = [
        {"name": "openai", "base_url": here, "api_key": key, "send_actor_headers": True},
        {"name": "central", "base_url": here, "api_key": key, "byok": False},
        {"name": "retrying", "base_url": here, "api_key": key, "retry_on": ["429", "5xx"], "max_retries": 1},
        {"name": "keyless", "base_url": here},
        {"name": "gone", "base_url": f"{nobody}/v1", "api_key": key},
        {"name": "other", "base_url": f"{provider.url}/a/b", "auth_header": "api-key", "api_key": key},
    ]
    with bridge(tmp_path_factory.mktemp("shared"), provider.url, providers=providers) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def start_bridge(tmp_path: Path, provider: ThreadedProvider) -> Iterator[StartBridge]:
    """Starts a bridge of the test's own; whatever is left of it in the end is ended."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(bridge(tmp_path, provider.url, **settings))
