"""`aibridge-sidecar recorder`: a process, asked over loopback by our own client and by strangers."""

import signal
import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from sidecar import settings
from sidecar.pb.aibridge.recorder.v1 import recorder_pb2 as pb
from sidecar.recorder.batches import CHILDREN, INTERCEPTIONS, TABLES, Batch, StoreUnavailable
from sidecar.recorder.journal.migration import migrate
from sidecar.recorder.service import contract
from sidecar.recorder.service.remote import RemoteStore
from sidecar.recorder.sqlite_store import SqliteStore
from sidecar.recorder.usage import prices
from sidecar.service import warn
from sidecar.settings import Recorder
from tests.e2e.waiting import PATIENCE, eventually
from tests.postgres import Postgres, execute
from tests.recorder import aged
from tests.recorder.contract_samples import ended, opened, prompt, together, whole
from tests.services import Certificates, Service, begun, certificates, service

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = {"", contract.SERVICE}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """For those who do it no harm, and mind no others' records."""
    folder = tmp_path_factory.mktemp("service")
    with service(folder, f"sqlite:///{folder}/store.db") as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def certificate(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "certificates")


@contextmanager
def store(recorder: Recorder) -> Iterator[RemoteStore]:
    with closing(RemoteStore(recorder)) as made:
        yield made


@contextmanager
def channel(running: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running.address, options=[("grpc.enable_http_proxy", 0)]) as opened_:
        yield opened_


def record(through: grpc.Channel, records: list[pb.Record]) -> "grpc.CallFuture[pb.RecordResponse]":
    call = through.unary_unary(
        f"/{contract.SERVICE}/Record",
        request_serializer=pb.RecordRequest.SerializeToString,
        response_deserializer=pb.RecordResponse.FromString,
    )
    return call.future(pb.RecordRequest(records=records), timeout=PATIENCE)


def health(through: grpc.Channel, name: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=name)
    return int(health_pb2_grpc.HealthStub(through).Check(request, timeout=PATIENCE).status)


def rows(database: Path, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()  # noqa: S608 - a test's


def counts(url: str) -> dict[str, int]:
    return {table: execute(url, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}  # noqa: S608 - a test's


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else can write meanwhile."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_a_batch_is_stored_in_sqlite_and_again_changes_nothing(tmp_path: Path) -> None:
    batch = together(whole("i-1"), whole("i-2"))
    with service(tmp_path, f"sqlite:///{tmp_path}/store.db") as running, store(running.client()) as client:
        assert client.put(batch) == set()
        assert client.put(batch) == set()
        assert running.stop() == 0
    assert {table: rows(tmp_path / "store.db", table) for table in TABLES} == {
        table: sorted(batch.rows[table]) for table in TABLES  # type: ignore[type-var] # their ids differ
    }  # fmt: skip


def test_a_batch_is_stored_in_postgresql_and_again_changes_nothing(tmp_path: Path, fresh_database: str) -> None:
    batch = together(whole("i-1"), whole("i-2"), Batch(rows={INTERCEPTIONS: [opened("i-3")]}))
    with service(tmp_path, fresh_database) as running, store(running.client()) as client:
        assert client.put(batch) == set()
        assert client.put(batch) == set()
        assert counts(fresh_database) == dict.fromkeys(CHILDREN, 2) | {INTERCEPTIONS: 3}
        assert client.put(Batch(rows={INTERCEPTIONS: [ended("i-3")]})) == set()
        still_open = execute(fresh_database, "SELECT count(*) FROM interceptions WHERE ended_at IS NULL")
        assert still_open == [(0,)]
        assert client.totals(None, None)["total"]["interceptions"] == 3
        assert urlsplit(fresh_database).password not in running.output


def test_one_unfit_among_good_ones_is_acknowledged_as_such(shared: Service) -> None:
    good = list(contract.records(whole("unfit-1")))
    odd = pb.Record(id="odd id", interception_id="unfit-1", at=good[0].at, prompt=pb.Prompt())
    with channel(shared) as through:
        response = record(through, [*good[:2], odd, *good[2:]]).result()
    assert [(one.id, one.status) for one in response.acknowledgements] == [
        ("unfit-1", pb.Acknowledgement.STATUS_DURABLE),
        ("unfit-1-0", pb.Acknowledgement.STATUS_DURABLE),
        ("odd id", pb.Acknowledgement.STATUS_UNFIT),
        ("unfit-1-1", pb.Acknowledgement.STATUS_DURABLE),
        ("unfit-1-2", pb.Acknowledgement.STATUS_DURABLE),
        ("unfit-1-3", pb.Acknowledgement.STATUS_DURABLE),
        ("unfit-1", pb.Acknowledgement.STATUS_DURABLE),
    ]
    assert len(rows(shared.folder / "store.db", INTERCEPTIONS)) >= 1


def test_many_clients_at_once_lose_nothing(shared: Service) -> None:
    names = [f"many-{at}" for at in range(60)]

    def put(some: list[str]) -> frozenset[str]:
        with store(shared.client()) as client:
            return frozenset[str]().union(*(client.put(whole(name)) for name in some))

    with ThreadPoolExecutor(6) as clients:
        assert set(clients.map(put, [names[at::6] for at in range(6)])) == {frozenset()}
    found = {row[0] for row in rows(shared.folder / "store.db", INTERCEPTIONS)}
    assert set(names) <= found


def test_the_report_is_the_stores(tmp_path: Path) -> None:
    with service(tmp_path, f"sqlite:///{tmp_path}/store.db") as running, store(running.client()) as client:
        client.put(whole("i-1"))
        usage = client.totals(None, None)
        assert usage["total"] == {
            "name": "",
            "interceptions": 1,
            "failed": 0,
            "open": 0,
            "input_tokens": 10,
            "output_tokens": 20,
            "cache_read_input_tokens": 3,
            "cache_write_input_tokens": 4,
            "tool_calls": 1,
            "cost": None,
            "unpriced": 1,
        }
        assert usage["prices"] == {"source": prices.source(), "date": prices.date()}
        assert [line["name"] for line in usage["actor"] + usage["model"] + usage["client"] + usage["day"]] == [
            "alice",
            "gpt-5",
            "Codex",
            "2026-03-01",
        ]


@pytest.mark.parametrize(("since", "until"), [("yesterday", None), (None, "x" * 10_000), ("2026-01-02", "2026-01-01")])
def test_what_is_no_day_is_refused(shared: Service, since: str | None, until: str | None) -> None:
    with channel(shared) as through:
        report = through.unary_unary(
            f"/{contract.SERVICE}/Report",
            request_serializer=pb.ReportRequest.SerializeToString,
            response_deserializer=pb.ReportResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as raised:
            report(pb.ReportRequest(since=since, until=until), timeout=PATIENCE)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined] # it is a Call


@pytest.mark.parametrize("name", NAMES)
def test_health_says_that_it_serves(shared: Service, name: str) -> None:
    with channel(shared) as through:
        assert health(through, name) == SERVING


def test_reflection_names_the_contract(shared: Service) -> None:
    """What `grpcurl list` asks."""
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=contract.SERVICE),
    ]
    with channel(shared) as through:
        stub = reflection_pb2_grpc.ServerReflectionStub(through)
        services, files = stub.ServerReflectionInfo(iter(asked), timeout=PATIENCE)
    assert contract.SERVICE in {one.name for one in services.list_services_response.service}
    assert pb.DESCRIPTOR.serialized_pb in files.file_descriptor_response.file_descriptor_proto


def test_too_large_a_request_is_refused_and_its_record_unfit(shared: Service) -> None:
    """The service takes 32 MiB; a larger record can go nowhere, and must not stop what comes behind it."""
    huge = Batch(
        rows={"user_prompts": [prompt("large-1-p", "large-1", "x" * 33_554_432), prompt("large-2-p", "large-1")]}
    )
    with store(shared.client()) as client:
        assert client.put(huge) == {"large-1-p"}
    assert ("large-2-p",) in [row[:1] for row in rows(shared.folder / "store.db", "user_prompts")]


def test_too_many_records_are_refused(shared: Service) -> None:
    (one,) = contract.records(Batch(rows={"user_prompts": [prompt()]}))
    with channel(shared) as through:
        call = record(through, [one] * (contract.MOST_RECORDS + 1))
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_overload_is_unavailable_and_passes(tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED would be taken for a record that is too large."""
    database = tmp_path / "store.db"
    with service(tmp_path, f"sqlite:///{database}", max_concurrent_batches=1) as running, channel(running) as through:
        with locked(database):
            calls = [record(through, list(contract.records(whole(f"i-{at}")))) for at in range(8)]
            refused = eventually(lambda: [call for call in calls if call.done()], "a refusal")
            assert {(call.code(), call.details()) for call in refused} <= {
                (grpc.StatusCode.UNAVAILABLE, "too many at once"),
                (grpc.StatusCode.UNAVAILABLE, "the store is unavailable"),
            }
            assert health(through) in {SERVING, NOT_SERVING}  # answered at once, while the store makes others wait
        eventually(lambda: all(call.done() for call in calls), "the others")
        assert record(through, list(contract.records(whole("i-9")))).result().acknowledgements
    assert "i-9" in {row[0] for row in rows(database, INTERCEPTIONS)}


def test_while_the_store_is_away_it_says_so_and_then_takes_again(
    tmp_path: Path, postgres: Postgres, fresh_database: str
) -> None:
    with service(tmp_path, fresh_database) as running, store(running.client()) as client, channel(running) as through:
        client.put(whole("i-1"))
        postgres.stop("immediate")
        try:
            with pytest.raises(StoreUnavailable, match="UNAVAILABLE"):
                client.put(whole("i-2"))
            for name in NAMES:
                eventually(lambda name=name: health(through, name) == NOT_SERVING, "no service")  # type: ignore[misc]
        finally:
            postgres.start()
        eventually(lambda: health(through) == SERVING, "service again")
        assert client.put(together(whole("i-1"), whole("i-2"))) == set()
        assert counts(fresh_database) == dict.fromkeys(TABLES, 2)
        assert running.output.count("the store is unavailable") == 1
        assert "let me see" not in running.output


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_is_answered_before_the_end(
    tmp_path: Path, fresh_database: str, order: signal.Signals
) -> None:
    with service(tmp_path, fresh_database) as running, channel(running) as through:
        with held(fresh_database):
            call = record(through, list(contract.records(whole("i-1"))))
            eventually(lambda: is_waiting(fresh_database), "a batch on its way")
            running.process.send_signal(order)
            eventually(lambda: health(through) == NOT_SERVING, "draining")
            late = record(through, list(contract.records(whole("i-2"))))
            assert (late.code(), late.details()) == (grpc.StatusCode.UNAVAILABLE, "the service is about to end")
        assert len(call.result().acknowledgements) == 6
        assert running.process.wait(PATIENCE) == 0
    assert counts(fresh_database) == dict.fromkeys(TABLES, 1)


def test_what_hangs_at_the_store_does_not_keep_it_from_its_end(tmp_path: Path, fresh_database: str) -> None:
    """Nobody was told that it is stored."""
    with service(tmp_path, fresh_database, impatient=True) as running, channel(running) as through:
        with held(fresh_database):
            call = record(through, list(contract.records(whole("i-1"))))
            eventually(lambda: is_waiting(fresh_database), "a batch on its way")
            assert running.stop() == 0
            assert call.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert '"unanswered": 1' in running.output


@contextmanager
def held(url: str) -> Iterator[None]:
    """Nobody else can write meanwhile."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE interceptions IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def is_waiting(url: str) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(execute(url, query))


def test_tls_by_an_authority_that_the_client_knows(tmp_path: Path, certificate: Certificates) -> None:
    files = {"cert_file": str(certificate.cert), "key_file": str(certificate.key)}
    other = certificates(tmp_path / "other")
    with service(tmp_path / "run", f"sqlite:///{tmp_path}/store.db", **files) as running:
        with store(running.client(ca_file=certificate.ca)) as client:
            assert client.put(whole()) == set()
        with store(running.client(ca_file=other.ca)) as client, pytest.raises(StoreUnavailable, match="UNAVAILABLE"):
            client.put(whole("i-2"))
        with store(running.client()) as client, pytest.raises(StoreUnavailable):  # in clear
            client.put(whole("i-3"))
    assert [row[0] for row in rows(tmp_path / "store.db", INTERCEPTIONS)] == ["i-1"]


def test_mtls_lets_nobody_in_without_a_certificate_of_its_authority(tmp_path: Path, certificate: Certificates) -> None:
    fleet, strangers = certificates(tmp_path / "fleet"), certificates(tmp_path / "strangers")
    files = {"cert_file": str(certificate.cert), "key_file": str(certificate.key), "client_ca_file": str(fleet.ca)}
    with service(tmp_path / "run", f"sqlite:///{tmp_path}/store.db", **files) as running:
        known = running.client(ca_file=certificate.ca, cert_file=fleet.cert, key_file=fleet.key)
        with store(known) as client:
            assert client.put(whole()) == set()
        unknown = running.client(ca_file=certificate.ca, cert_file=strangers.cert, key_file=strangers.key)
        for refused in (running.client(ca_file=certificate.ca), unknown):
            with store(refused) as client, pytest.raises(StoreUnavailable, match="UNAVAILABLE"):
                client.put(whole("i-2"))
    assert [row[0] for row in rows(tmp_path / "store.db", INTERCEPTIONS)] == ["i-1"]


@pytest.mark.parametrize(
    ("listen", "client_ca", "warnings"),
    [("0.0.0.0:9470", False, 1), ("[::]:9470", False, 1), ("0.0.0.0:9470", True, 0), ("[::1]:9470", False, 0)],
)
def test_a_port_that_others_reach_without_a_certificate_is_warned_of(
    certificate: Certificates, listen: str, *, client_ca: bool, warnings: int
) -> None:
    section = settings.Service(
        listen=listen,
        cert_file=certificate.cert,
        key_file=certificate.key,
        client_ca_file=certificate.ca if client_ca else None,
    )
    with capture_logs() as logged:
        warn(section)
    assert [entry["log_level"] for entry in logged] == ["warning"] * warnings


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with begun(tmp_path, f"sqlite:///{tmp_path}/store.db", listen=listen) as running:
            assert running.process.wait(PATIENCE) == 2
    assert running.output == f"aibridge-sidecar: service.listen = '{listen}': Address already in use\n"


@pytest.mark.parametrize("setting", ["cert_file", "client_ca_file"])
def test_a_certificate_that_is_none_is_one_line(tmp_path: Path, certificate: Certificates, setting: str) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing of the kind")
    files = {"cert_file": str(certificate.cert), "key_file": str(certificate.key)} | {setting: str(bad)}
    with begun(tmp_path / "run", f"sqlite:///{tmp_path}/store.db", **files) as running:
        assert running.process.wait(PATIENCE) == 1
    assert running.output.startswith(f"aibridge-sidecar: service.{setting} = '{bad}': not what it should be")
    assert running.output.count("\n") == 1


def test_a_service_that_stores_into_a_service_is_refused(tmp_path: Path) -> None:
    with begun(tmp_path, "grpc://127.0.0.1:9470") as running:
        assert running.process.wait(PATIENCE) == 2
    assert running.output == (
        "aibridge-sidecar: recorder.url = 'grpc://127.0.0.1:9470': the Recorder service stores into sqlite:/// or "
        "postgresql://\n"
    )


def test_a_store_that_is_away_at_the_start_is_one_line(tmp_path: Path, nobody: str) -> None:
    place = f"postgresql://records@{urlsplit(nobody).netloc}/records"
    with begun(tmp_path, place.replace("@", ":secret-canary@")) as running:
        assert running.process.wait(PATIENCE) == 1
    assert running.output.startswith(f"aibridge-sidecar: store {place}: ")
    assert "secret-canary" not in running.output
    assert running.output.count("\n") == 1


def test_its_file_is_its_own_alone(shared: Service) -> None:
    database = shared.folder / "store.db"
    assert {path.stat().st_mode & 0o777 for path in database.parent.glob("store.db*")} == {0o600}


def test_it_deletes_what_is_older_than_its_retention(tmp_path: Path) -> None:
    """Sidecars cannot: nobody who may record may delete."""
    database, now = tmp_path / "records.db", datetime.now(UTC)
    migrate(database)
    with closing(SqliteStore(database)) as made:
        made.put(aged.together(aged.interception("old", now - timedelta(days=31)), aged.interception("young", now)))
    with service(tmp_path / "service", f"sqlite:///{database}", retention_days=30):
        eventually(lambda: [row[0] for row in rows(database, INTERCEPTIONS)] == ["young"], "what is left")
