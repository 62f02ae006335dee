"""The journal's keeper, a process of its own."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from examples.otlp_receiver import Receiver
from sidecar.children import Keeper
from sidecar.keeper import work
from sidecar.recorder.journal.migration import migrate
from sidecar.settings import Settings, Telemetry
from sidecar.settings.otel import Otel, Way
from sidecar.telemetry.metrics import Metric, NoMetrics, sheets
from tests.e2e.processes import children, is_running
from tests.e2e.waiting import PATIENCE, eventually
from tests.postgres import Postgres, execute
from tests.recorder.journal_samples import ended, select, started, whole
from tests.recorder.test_backlog import keep
from tests.telemetry.collectors import hanging
from tests.telemetry.pushed import decode

STORED = "SELECT id FROM interceptions ORDER BY id"
SINCE = 1_800_000_000.5
ONE, TWO = "019ab3c4-0000-7000-8000-000000000001", "019ab3c4-0000-7000-8000-000000000002"


@pytest.fixture
def settings(tmp_path: Path, fresh_database: str) -> Settings:
    made = Settings(
        runtime_dir=tmp_path / "run", recorder={"url": fresh_database}, providers=[{"api_key": "sk-canary-0123456789"}]
    )
    made.runtime_dir.mkdir(mode=0o700)
    migrate(made.database)
    return made


async def stored(url: str, *ids: str) -> None:
    """Returns when the database has these interceptions, and no others."""
    await asyncio.to_thread(eventually, lambda: [one for (one,) in _stored(url)] == list(ids), f"{ids} stored")


def _stored(url: str) -> list[tuple[object, ...]]:
    return execute(url, STORED) if execute(url, "SELECT to_regclass('interceptions')")[0][0] else []


async def empty(settings: Settings) -> None:
    """Returns when nothing is left in the journal."""
    counted = "SELECT count(*) FROM interceptions"
    await asyncio.to_thread(eventually, lambda: select(settings.database, counted) == [(0,)], "an empty journal")


async def test_what_is_in_the_journal_goes_on_to_the_store(settings: Settings, fresh_database: str) -> None:
    """Also into a database that had no tables yet; told to stop, it forwards what has come last."""
    keep(settings.database, started(ONE), *whole(ONE))
    keeper = Keeper(settings)
    await keeper.start()
    await stored(fresh_database, ONE)
    await empty(settings)
    keep(settings.database, started(TWO), *whole(TWO))
    await keeper.stop()
    await stored(fresh_database, ONE, TWO)
    assert len(execute(fresh_database, "SELECT id FROM tool_usages")) == 2


async def test_one_that_was_killed_is_followed_by_one_who_goes_on(settings: Settings, fresh_database: str) -> None:
    keeper = Keeper(settings)
    before = set(children(os.getpid()))
    await keeper.start()
    keeping = asyncio.create_task(keeper.keep())
    [pid] = set(children(os.getpid())) - before
    os.kill(pid, signal.SIGKILL)
    keep(settings.database, started(ONE), *whole(ONE))
    await stored(fresh_database, ONE)
    await keeper.stop()
    await asyncio.wait_for(keeping, PATIENCE)


async def test_a_store_that_is_away_keeps_nobody(tmp_path: Path) -> None:
    """The bridge starts and stops without it; the journal keeps what there is."""
    with Postgres() as server:
        url = server.url("postgres")
        server.stop()
        settings = Settings(runtime_dir=tmp_path / "run", recorder={"url": url})
        settings.runtime_dir.mkdir(mode=0o700)
        migrate(settings.database)
        keep(settings.database, started(ONE), ended(ONE))
        keeper = Keeper(settings)
        await keeper.start()
        await asyncio.wait_for(keeper.stop(), PATIENCE)
    assert select(settings.database, STORED) == [(ONE,)]


def test_nobody_is_left_of_a_parent_that_was_killed(tmp_path: Path, settings: Settings) -> None:
    """It hears the end of its input."""
    parent = (
        "import asyncio, pathlib, pickle, sys\n"
        "from sidecar.children import Keeper\n"
        "async def run():\n"
        "    await Keeper(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())).start()\n"
        "    print('started', flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(run())\n"
    )
    pickled = tmp_path / "settings"
    pickled.write_bytes(_pickled(settings))
    with subprocess.Popen([sys.executable, "-c", parent, pickled], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"started\n"
        [keeper] = children(process.pid)
        process.kill()
    eventually(lambda: not is_running(keeper), "the keeper's end")


def test_it_is_told_no_provider_s_key_and_a_worker_no_store_s_password(settings: Settings) -> None:
    assert b"sk-canary-0123456789" in _pickled(settings)
    assert b"sk-canary-0123456789" not in _pickled(settings.without_provider_keys())
    assert settings.recorder.password is not None
    password = settings.recorder.password.get_secret_value().encode()
    assert password in _pickled(settings)
    assert password not in _pickled(settings.without_store_credentials())


def _pickled(settings: Settings) -> bytes:
    return pickle.dumps(settings)


async def test_whoever_can_no_longer_forward_is_replaced(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw ends the thread: a process that stayed would forward nothing, and look alive."""
    nonsense = {"when_full": "drop_oldest", "max_journal_bytes": None}
    broken = settings.model_copy(update={"recorder": settings.recorder.model_copy(update=nonsense)})
    keeper = Keeper(settings)
    monkeypatch.setattr(keeper, "_settings", broken)
    before = set(children(os.getpid()))
    await keeper.start()
    keeping = asyncio.create_task(keeper.keep())
    [first] = set(children(os.getpid())) - before
    await asyncio.to_thread(eventually, lambda: not is_running(first), "its end")
    await asyncio.to_thread(eventually, lambda: set(children(os.getpid())) - before - {first}, "its successor")
    await keeper.stop()
    await asyncio.wait_for(keeping, PATIENCE)


async def test_it_pushes_metrics_and_its_successor_goes_on(tmp_path: Path) -> None:
    """One start for both: a collector sees no reset, and nothing that goes down. In the end it says what came last."""
    with Receiver() as receiver:
        telemetry = Telemetry(otlp_endpoint=receiver.endpoint, metrics="").told(Otel(interval=0.1))
        settings = Settings(runtime_dir=tmp_path / "run", telemetry=telemetry)
        settings.runtime_dir.mkdir(mode=0o700)
        keeper = Keeper(settings, bridge="host:1:ab", since=SINCE)
        before = set(children(os.getpid()))
        await keeper.start()
        keeping = asyncio.create_task(keeper.keep())
        [first] = set(children(os.getpid())) - before
        counted(settings, 3)
        await asyncio.to_thread(eventually, lambda: 3 in stalls(receiver), "a push")
        os.kill(first, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: not is_running(first), "its end")
        had = len(receiver.metrics)
        counted(settings, 4)
        await asyncio.to_thread(eventually, lambda: len(receiver.metrics) > had, "a push of its successor's")
        counted(settings, 5)
        await keeper.stop()
        await asyncio.wait_for(keeping, PATIENCE)
        seen = stalls(receiver)
    assert seen == sorted(seen)
    assert seen[-1] == 12
    points = [point for payload in receiver.metrics for point in decode(payload)]
    assert {point.since for point in points if point.kind != "gauge"} == {int(SINCE * 1e9)}
    assert {point.sender["service.instance.id"] for point in points} == {"host:1:ab"}


def counted(settings: Settings, stalls: int) -> None:
    """So many more, by a worker that has ended."""
    metrics = sheets.opened(settings, "worker-0")
    metrics.add(Metric.JOURNAL_STALLS_TOTAL, stalls)
    metrics.close()


def stalls(receiver: Receiver) -> list[float]:
    """What each push said of them."""
    points = (point for payload in receiver.metrics for point in decode(payload))
    return [point.values[0] for point in points if point.name == Metric.JOURNAL_STALLS_TOTAL.otlp_name]


async def test_a_collector_that_hangs_does_not_keep_it(tmp_path: Path) -> None:
    with hanging() as nowhere:
        telemetry = Telemetry(otlp_endpoint=nowhere, otlp_protocol="http", metrics="").told(
            Otel(interval=0.1, metrics=Way(timeout=600.0))
        )
        settings = Settings(runtime_dir=tmp_path / "run", telemetry=telemetry)
        settings.runtime_dir.mkdir(mode=0o700)
        keeper = Keeper(settings)
        before = set(children(os.getpid()))
        await keeper.start()
        [pid] = set(children(os.getpid())) - before
        with capture_logs() as logged:
            await asyncio.wait_for(keeper.stop(), PATIENCE)
        assert not is_running(pid)
    assert logged == []  # nobody had to kill it


@pytest.mark.parametrize(
    ("url", "days", "threads"),
    [
        ("sqlite:///records.db", 0, 0),
        ("sqlite:///records.db", 30, 1),
        ("postgresql://h/d", 0, 1),
        ("postgresql://h/d", 30, 2),
        ("grpc://127.0.0.1:1", 30, 1),  # a service deletes by itself
    ],
)
def test_it_does_what_there_is_to_do(tmp_path: Path, url: str, days: int, threads: int) -> None:
    settings = Settings(runtime_dir=tmp_path, recorder={"url": url, "retention_days": days})
    assert len(list(work(settings, NoMetrics(), threading.Event()))) == threads
    assert settings.needs_keeper == (threads > 0)
