from pathlib import Path

import pytest

from tests.e2e.stores import Store, in_postgres, in_sqlite


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, disk: Path) -> Store:
    """An empty one, of each kind."""
    if request.param == "sqlite":
        return in_sqlite(disk / "records.db")
    return in_postgres(request.getfixturevalue("fresh_database"))
