from collections.abc import Iterator

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.scripts import Script
from tests.hostile.attacked import attacked, is_well
from tests.hostile.serving import Serving, running


@pytest.fixture(scope="module")
def serves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A worker for this module, which ends every interception that it began."""
    with running(tmp_path_factory.mktemp("serving")) as started:
        yield started


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    """One for all who mean harm: starting it costs more than they do."""
    with attacked(tmp_path_factory.mktemp("attacked"), provider) as started:
        yield started


@pytest.fixture
def attack(victim: Bridge, provider: ThreadedProvider, script: Script, case: str) -> Iterator[Bridge]:
    """The bridge to be attacked, which serves the next one as if nothing had been, by the same processes."""
    processes = victim.children()
    yield victim
    is_well(victim, provider, script, f"{case}-after")
    assert victim.children() == processes
