import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest

from sidecar.recorder.journal.migration import migrate
from sidecar.settings.model import ServerKind
from tests.contract.worker import Worker, serving


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with nothing in it; a copy is made sooner than another."""
    database = tmp_path_factory.mktemp("empty") / "aibridge.db"
    migrate(database)
    return database


@pytest.fixture(params=get_args(ServerKind))
def folder(request: pytest.FixtureRequest, tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a worker may have its journal and its socket; with each server in turn."""
    monkeypatch.setattr("tests.contract.worker.SERVED", request.param)
    shutil.copy(empty, tmp_path / "aibridge.db")
    return tmp_path


@pytest.fixture
async def worker(folder: Path) -> AsyncIterator[Worker]:
    async with serving(folder) as serves:
        yield serves
