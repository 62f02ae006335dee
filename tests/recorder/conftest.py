import shutil
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from queue import SimpleQueue

import pytest
import structlog

from sidecar.recorder.journal.migration import migrate
from tests.recorder.journal_samples import Logged, Told


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated journal, to be copied: Alembic takes its time."""
    database = tmp_path_factory.mktemp("fresh") / "journal.db"
    migrate(database)
    return database


@pytest.fixture
def database(fresh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(fresh, tmp_path / "journal.db"))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def logged() -> Iterator[Logged]:
    """The next thing that is logged, on whatever thread; at most half a minute later."""
    entries: SimpleQueue[MutableMapping[str, object]] = SimpleQueue()

    def keep(_logger: object, level: str, entry: MutableMapping[str, object]) -> None:
        entries.put(entry | {"level": level})
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[keep])
    yield lambda: entries.get(timeout=30)
    assert entries.empty()
    structlog.configure(**before)
