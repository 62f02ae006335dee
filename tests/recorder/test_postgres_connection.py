import asyncio
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import trustme
from sqlalchemy import text
from structlog.testing import capture_logs

from sidecar.core.errors import BadSetting
from sidecar.recorder.batches import StoreUnavailable
from sidecar.recorder.postgres.connection import StoreUnfit, conninfo, engine, told, warn
from sidecar.recorder.postgres.store import PostgresStore, migrate
from sidecar.settings import Recorder
from tests.postgres import Postgres
from tests.recorder import postgres_samples as samples
from tests.recorder.postgres_tls import tls

RECORDER = Recorder(url="postgresql://someone:secret@db/records?sslmode=require&connect_timeout=2")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_the_urls_parameters_go_before_ours() -> None:
    found = conninfo(RECORDER)
    assert (found["sslmode"], found["connect_timeout"], found["application_name"]) == ("require", "2", "aibridge")
    assert (found["password"], found["host"], found["dbname"]) == ("secret", "db", "records")


def test_the_password_is_in_no_repr() -> None:
    assert "secret" not in repr(engine(RECORDER)) + repr(engine(RECORDER).url) + repr(PostgresStore(RECORDER))


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("postgresql://u@db.internal/records", True),
        ("postgresql://u@127.0.0.1,10.0.0.1/records", True),
        ("postgresql://u@localhost/records?hostaddr=10.0.0.1", True),
        ("postgresql://u@db.internal/records?sslmode=disable", False),
        ("postgresql://u@127.0.0.1,localhost/records", False),
        ("postgresql://u@[::1]:5432/records", False),
        ("postgresql:///records?host=/run/postgresql", False),
    ],
)
def test_who_leaves_open_how_a_connection_to_others_is_secured_hears_of_it(url: str, warned: bool) -> None:  # noqa: FBT001 - a parameter of the test's
    with capture_logs() as lines:
        warn(Recorder(url=url))
    assert [line["log_level"] for line in lines] == ["warning"] * warned


def test_with_an_authority_it_is_said(authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with capture_logs() as lines:
        warn(Recorder(url="postgresql://u@db.internal/records", ca_file=tmp_path / "ca.pem"))
    assert lines == []


@pytest.mark.parametrize("query", ["no_such_parameter=1", "sslmode"])
def test_a_parameter_that_libpq_does_not_know_is_the_operators_fault(query: str) -> None:
    with pytest.raises(BadSetting) as caught:
        PostgresStore(Recorder(url=f"postgresql://someone:secret@db/records?{query}"))
    expected = "recorder.url = postgresql://someone@db/records: expected a URL whose parameters libpq knows"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (psycopg.errors.DiskFull("a row"), "its disk is full: DiskFull (53100)"),
        (psycopg.errors.SerializationFailure("a row"), "SerializationFailure (40001)"),
        (
            psycopg.OperationalError("connection failed: \x1b[2J gone with secret\nHint: more"),
            "connection failed:  [2J gone with ***",
        ),
        (psycopg.InterfaceError("a row"), "InterfaceError"),
        (OSError("a row"), "OSError"),
    ],
)
def test_an_error_is_one_line_without_rows(error: Exception, line: str) -> None:
    found = told(RECORDER, error)
    assert str(found) == f"store postgresql://someone@db/records: {line}"
    assert not isinstance(found, StoreUnfit)


def test_an_engine_is_good_for_questions(postgres: Postgres) -> None:
    with engine(samples.recorder(postgres.url())).connect() as connection:
        assert connection.execute(text("SELECT current_setting('application_name')")).scalar_one() == "aibridge"


async def test_certificates_are_checked_against_the_ca_file(
    fresh_database: str, postgres: Postgres, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with tls(postgres.port, authority.issue_cert("127.0.0.1")) as port:
        url = fresh_database.replace(f":{postgres.port}/", f":{port}/")
        recorder = Recorder(url=url, ca_file=tmp_path / "ca.pem")
        await asyncio.to_thread(migrate, recorder)
        with closing(PostgresStore(recorder)) as store:
            assert await asyncio.to_thread(store.put, samples.one_of_each()) == frozenset()
    assert samples.ids(fresh_database, "interceptions") == ["i-1"]


@pytest.mark.parametrize(("name", "is_known"), [("127.0.0.1", False), ("127.0.0.2", True)])
async def test_a_stranger_gets_nothing(
    postgres: Postgres, authority: trustme.CA, tmp_path: Path, name: str, *, is_known: bool
) -> None:
    """One whose certificate somebody else has signed, or is another host's."""
    (authority if is_known else trustme.CA()).cert_pem.write_to_path(tmp_path / "ca.pem")
    async with tls(postgres.port, authority.issue_cert(name)) as port:
        url = postgres.url().replace(f":{postgres.port}/", f":{port}/")
        store = PostgresStore(Recorder(url=url, ca_file=tmp_path / "ca.pem"))
        with closing(store), pytest.raises(StoreUnavailable, match="certificate"):
            await asyncio.to_thread(store.put, samples.one_of_each())


def test_a_server_without_tls_gets_nothing_where_a_ca_is_set(
    postgres: Postgres, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    recorder = Recorder(url=postgres.url(), ca_file=tmp_path / "ca.pem")
    with closing(PostgresStore(recorder)) as store, pytest.raises(StoreUnavailable, match="does not support SSL"):
        store.put(samples.one_of_each())
