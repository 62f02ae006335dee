import subprocess
import sys
from contextlib import closing
from datetime import UTC

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import select

from sidecar.recorder.batches import TABLES, StoreUnavailable
from sidecar.recorder.journal.connection import REVISION
from sidecar.recorder.postgres.connection import StoreUnfit, engine
from sidecar.recorder.postgres.months import months
from sidecar.recorder.postgres.store import PostgresStore, migrate
from sidecar.recorder.schema import interceptions, metadata
from tests.postgres import Postgres, execute
from tests.recorder import postgres_samples as samples

FLEETS = "ix_interceptions_initiator_id"  # an index that a laptop's journal does without


def tables(url: str) -> list[str]:
    return [name for (name,) in execute(url, "SELECT relname FROM pg_class WHERE relkind = 'p' ORDER BY 1")]


def refusal(url: str) -> str:
    with pytest.raises(StoreUnfit) as caught:
        migrate(samples.recorder(url))
    return str(caught.value).removeprefix(f"store {samples.recorder(url).place}: ")


def ours(_object: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:  # noqa: FBT001 - Alembic's
    is_month = kind == "table" and reflected and name not in metadata.tables
    return not is_month and name != FLEETS


def test_the_migrations_make_the_schema(fresh_database: str) -> None:
    """Of the months only the tables they belong to are in the schema."""
    migrate(samples.recorder(fresh_database))
    with engine(samples.recorder(fresh_database)).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": ours})
        found = [change for change in compare_metadata(context, metadata) if change[0] != "remove_table"]
    assert found == []
    assert execute(fresh_database, "SELECT version_num FROM alembic_version") == [(REVISION,)]
    assert execute(fresh_database, "SELECT 1 FROM pg_indexes WHERE indexname = %s", [FLEETS]) == [(1,)]


def test_every_table_is_partitioned_by_its_moment(fresh_database: str) -> None:
    migrate(samples.recorder(fresh_database))
    keys = execute(
        fresh_database, "SELECT partrelid::regclass::text, pg_get_partkeydef(partrelid) FROM pg_partitioned_table"
    )
    moments = dict.fromkeys(TABLES, "RANGE (created_at)") | {"interceptions": "RANGE (started_at)"}
    assert dict(keys) == moments


def test_migrating_again_changes_nothing(fresh_database: str) -> None:
    migrate(samples.recorder(fresh_database))
    before = execute(fresh_database, "SELECT oid, relname, xmin FROM pg_class ORDER BY oid")
    migrate(samples.recorder(fresh_database))
    assert execute(fresh_database, "SELECT oid, relname, xmin FROM pg_class ORDER BY oid") == before


def test_a_start_makes_the_month_that_comes_next(fresh_database: str) -> None:
    migrate(samples.recorder(fresh_database))
    database = engine(samples.recorder(fresh_database))
    (last, _), before = months(database)[-1], months(database)
    execute(fresh_database, f"DROP TABLE {last}")
    migrate(samples.recorder(fresh_database))
    assert months(database) == before


RACE = """
import sys
from sidecar.recorder.postgres.store import migrate
from sidecar.settings import Recorder
print("ready", flush=True)
migrate(Recorder(url=sys.stdin.readline().strip()))
"""


def test_several_processes_may_migrate_at_once(fresh_database: str) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n"] * 3
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(f"{fresh_database}\n")
        racer.stdin.flush()
    assert [(racer.communicate(timeout=60)[1], racer.returncode) for racer in racers] == [("", 0)] * 3
    assert tables(fresh_database) == sorted(TABLES)


def test_a_newer_schema_is_told_and_left_alone(fresh_database: str) -> None:
    migrate(samples.recorder(fresh_database))
    execute(fresh_database, "UPDATE alembic_version SET version_num = '9999'")
    assert refusal(fresh_database) == "its schema 9999 is newer than this version of the sidecar"
    assert execute(fresh_database, "SELECT version_num FROM alembic_version") == [("9999",)]


@pytest.mark.parametrize(
    "theirs",
    [
        ["CREATE TABLE bookmarks (url text)"],
        # Another that uses Alembic, and numbers its revisions as we do.
        ["CREATE TABLE alembic_version (version_num text)", "INSERT INTO alembic_version VALUES ('0001')"],
    ],
)
def test_another_programs_database_is_left_alone(fresh_database: str, theirs: list[str]) -> None:
    for statement in theirs:
        execute(fresh_database, statement)
    assert refusal(fresh_database) == "it is another program's database"
    assert tables(fresh_database) == []


def test_a_database_that_cannot_hold_all_texts_is_told(postgres: Postgres) -> None:
    """Else a prompt with an emoji would stay in the journal for ever."""
    with postgres.database("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'") as url:
        assert refusal(url) == "its encoding is LATIN1, which cannot hold all texts; expected UTF8"


def test_moments_are_utc_whatever_the_database_says(fresh_database: str) -> None:
    """An initdb takes the host's time zone over, and a German one another order of days."""
    migrate(samples.recorder(fresh_database))
    with closing(PostgresStore(samples.recorder(fresh_database))) as store:
        store.put(samples.one_of_each())
    ((before,),) = execute(fresh_database, "SELECT started_at FROM interceptions")
    name = fresh_database.rpartition("/")[2]
    execute(fresh_database, f"ALTER DATABASE {name} SET timezone = 'America/New_York'")
    execute(fresh_database, f"ALTER DATABASE {name} SET datestyle = 'German, DMY'")
    with engine(samples.recorder(fresh_database)).connect() as connection:
        (found,) = connection.execute(select(interceptions.c.started_at)).scalars()
    assert found.tzinfo is UTC
    assert found == before


def test_a_schema_of_ones_own_is_enough(fresh_database: str) -> None:
    """`search_path` in the URL; what another program has in `public` is no concern of ours."""
    execute(fresh_database, "CREATE TABLE bookmarks (url text)")
    execute(fresh_database, "CREATE SCHEMA bridge")
    url = f"{fresh_database}?options=-csearch_path%3Dbridge"
    migrate(samples.recorder(url))
    with closing(PostgresStore(samples.recorder(url))) as store:
        store.put(samples.one_of_each())
    found = execute(
        fresh_database, "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relkind = 'p'"
    )
    assert found == [("bridge",)]
    assert samples.ids(url, "interceptions") == ["i-1"]


def test_a_role_that_owns_nothing_is_content_with_a_current_schema(fresh_database: str, postgres: Postgres) -> None:
    migrate(samples.recorder(fresh_database))
    with postgres.role(fresh_database, "INSERT, SELECT ON ALL TABLES IN SCHEMA public") as lesser:
        migrate(samples.recorder(lesser))


def test_a_role_that_may_make_no_table_is_told(fresh_database: str, postgres: Postgres) -> None:
    with postgres.role(fresh_database, "USAGE ON SCHEMA public") as lesser:
        assert refusal(lesser) == "the role lacks a privilege that this takes: InsufficientPrivilege (42501)"


def test_a_server_that_is_not_there_is_no_operators_fault(nobody: str) -> None:
    """It may come; nothing needs mending but patience."""
    url = nobody.replace("http://", "postgresql://someone:secret@") + "/records"
    with pytest.raises(StoreUnavailable, match="Connection refused") as caught:
        migrate(samples.recorder(url))
    assert not isinstance(caught.value, StoreUnfit)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_store_of_the_first_schema_keeps_what_it_has(fresh_database: str) -> None:
    """The months that are there get the column, too."""
    recorder = samples.recorder(fresh_database)
    migrate(recorder)
    with closing(PostgresStore(recorder)) as store:
        store.put(samples.one_of_each())
    execute(fresh_database, "ALTER TABLE interceptions DROP COLUMN trace_id")
    execute(fresh_database, "UPDATE alembic_version SET version_num = '0001'")
    migrate(recorder)
    assert execute(fresh_database, "SELECT trace_id FROM interceptions") == [(None,)]
