from collections.abc import Iterator

import pytest

from tests.hostile.serving import Serving, running


@pytest.fixture(scope="module")
def serves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A worker for this module, which ends every interception that it began."""
    with running(tmp_path_factory.mktemp("serving")) as started:
        yield started
