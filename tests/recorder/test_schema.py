from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from sidecar.recorder import migrations
from sidecar.recorder.journal.connection import REVISION
from sidecar.recorder.rows import row
from sidecar.recorder.schema import Moment, interceptions, metadata, token_usages
from tests.recorder.journal_samples import started


def test_the_migrations_make_the_schema(database: Path) -> None:
    """Two descriptions of the tables, so that a released revision can stay as it is."""
    with create_engine(f"sqlite:///{database}", poolclass=NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_revision_the_writers_ask_for_is_the_newest() -> None:
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head() == REVISION


def test_every_index_a_question_needs_is_there(database: Path) -> None:
    with create_engine(f"sqlite:///{database}", poolclass=NullPool).connect() as connection:
        found = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL")
        assert sorted(found.scalars()) == [
            "CREATE INDEX ix_interceptions_started_at ON interceptions (started_at)",
            "CREATE INDEX ix_interceptions_worker_open ON interceptions (worker) WHERE ended_at IS NULL",
            "CREATE INDEX ix_model_thoughts_interception_id ON model_thoughts (interception_id)",
            "CREATE INDEX ix_token_usages_interception_id ON token_usages (interception_id)",
            "CREATE INDEX ix_tool_usages_interception_id ON tool_usages (interception_id)",
            "CREATE INDEX ix_user_prompts_interception_id ON user_prompts (interception_id)",
        ]


def test_each_table_is_one_tree(database: Path) -> None:
    """A second tree for row numbers would cost every commit a page more for each table."""
    with create_engine(f"sqlite:///{database}", poolclass=NullPool).connect() as connection:
        found = connection.exec_driver_sql("SELECT name, wr FROM pragma_table_list WHERE schema = 'main'").all()
    assert {name: wr for name, wr in found if name in metadata.tables} == dict.fromkeys(metadata.tables, 1)


def test_postgresql_gets_the_same_tables_with_its_own_types() -> None:
    dialect = postgresql.dialect()
    tables = "".join(str(CreateTable(table).compile(dialect=dialect)) for table in metadata.sorted_tables)
    assert tables.count("TIMESTAMP WITH TIME ZONE") == 6
    assert tables.count("JSONB") == 2
    still_open = next(index for index in interceptions.indexes if index.name == "ix_interceptions_worker_open")
    assert str(CreateIndex(still_open).compile(dialect=dialect)).endswith("(worker) WHERE ended_at IS NULL")


def test_sqlalchemy_reads_what_the_hot_path_wrote(database: Path) -> None:
    with create_engine(f"sqlite:///{database}", poolclass=NullPool).begin() as connection:
        made = row(started(), "unused", "w")
        connection.exec_driver_sql(made.statement.sql, made.values)
        found = connection.execute(select(interceptions.c.started_at, interceptions.c.actor_metadata)).one()
    assert found == (datetime(2001, 9, 9, 1, 46, 40, 250_000, tzinfo=UTC), {"team": "blue"})


def test_a_moment_is_stored_in_utc_and_one_width(database: Path) -> None:
    """Text sorts as time does only if every moment is written alike."""
    noon = datetime(2026, 1, 2, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    counts = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens"), 0)
    values = {"id": "1", "interception_id": "i", "msg_id": "", "extra": {}, "created_at": noon}
    with create_engine(f"sqlite:///{database}", poolclass=NullPool).begin() as connection:
        connection.execute(insert(token_usages), [values | counts])
        raw = connection.exec_driver_sql("SELECT created_at FROM token_usages").scalar_one()
    assert raw == "2026-01-02T10:00:00.000000Z"


@pytest.mark.parametrize("value", [None, datetime(2026, 1, 2, tzinfo=UTC)])
def test_postgresql_is_given_the_moment_itself(value: datetime | None) -> None:
    dialect = postgresql.dialect()
    assert Moment().process_bind_param(value, dialect) is value
    assert Moment().process_result_value(value, dialect) is value
