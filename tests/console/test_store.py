"""A page's questions have an end, and change nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from sidecar.console.store import Store, TooMuch
from sidecar.core.errors import SidecarError
from tests.stores import KINDS, Database, database

ENDLESS = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers) SELECT count(*) FROM numbers"
IMPATIENT = 0.1  # seconds


@pytest.fixture(params=KINDS)
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with database(request, tmp_path) as made:
        yield made


async def test_a_question_that_takes_too_long_is_ended(held: Database) -> None:
    with pytest.raises(TooMuch, match=r"more than can be read in 0\.1 s"):
        await Store(held.settings, IMPATIENT).ask(lambda connection: connection.exec_driver_sql(ENDLESS).all())


async def test_an_answer_in_time_is_given(held: Database) -> None:
    assert await Store(held.settings).ask(lambda connection: connection.exec_driver_sql("SELECT 1").scalar()) == 1


async def test_nothing_can_be_changed(held: Database) -> None:
    with pytest.raises((SidecarError, DBAPIError)):
        await Store(held.settings).ask(lambda connection: connection.exec_driver_sql("DELETE FROM interceptions"))
