import os
import pty
import re
import subprocess
import threading
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from sidecar.cli import main
from sidecar.core.errors import BadSetting
from sidecar.purge import purge
from sidecar.recorder.batches import TABLES, Batch
from sidecar.recorder.journal.migration import migrate
from sidecar.recorder.journal.turns import turn
from sidecar.recorder.postgres.store import PostgresStore
from sidecar.recorder.postgres.store import migrate as migrate_postgres
from sidecar.recorder.sqlite_store import SqliteStore
from sidecar.settings import Recorder, Settings
from tests.e2e.bridges import COMMAND, ROOT, Bridge, environment
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE, eventually
from tests.recorder import journal_samples, postgres_samples
from tests.recorder.aged import DAY, interception, together

SECOND = timedelta(seconds=1)
SAMPLES = together(
    interception("1", DAY - SECOND),
    interception("2", DAY),
    interception("3", DAY - SECOND, "bob"),
    interception("4", DAY - SECOND, lasted=None),
)
BEFORE = DAY.date().isoformat()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    migrate(tmp_path / "records.db")
    return tmp_path / "records.db"


@pytest.fixture
def local(database: Path) -> Settings:
    return Settings(recorder=Recorder(url=f"sqlite:///{database}"))


@pytest.fixture
def forwarded(database: Path, fresh_database: str) -> Settings:
    """With an empty PostgreSQL as the store."""
    migrate_postgres(postgres_samples.recorder(fresh_database))
    return Settings(recorder=Recorder(url=fresh_database, journal=database))


def put(database: Path, batch: Batch = SAMPLES) -> None:
    with closing(SqliteStore(database)) as store:
        store.put(batch)


def store(settings: Settings, batch: Batch = SAMPLES) -> None:
    with closing(PostgresStore(settings.recorder)) as postgres:
        postgres.put(batch)


def names(database: Path) -> list[object]:
    """Of the interceptions that are there, each with all that belongs to it."""
    owners = Counter(row["interception_id"] for table in TABLES[1:] for row in journal_samples.table(database, table))
    found = [row["id"] for row in journal_samples.table(database, "interceptions")]
    assert owners == dict.fromkeys(found, 4)
    return found


def table(output: str) -> list[list[str]]:
    """The cells that are shown."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]


def test_what_started_before_a_day_goes_and_what_went_is_said(
    local: Settings, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(database)
    purge(local, before=BEFORE, yes=True)
    assert names(database) == ["2", "4"]
    out, err = capsys.readouterr()
    assert table(out) == [[name, "2"] for name in TABLES] + [["open, left", "1"]]
    assert out.splitlines()[-1] == "open interceptions are left: run again when they have ended"
    assert err == ""


def test_an_actor_s_goes_and_is_not_in_the_files(local: Settings, database: Path) -> None:
    put(database, together(SAMPLES, interception("5", DAY, text="what alice asked")))
    assert b"what alice asked" in _raw(database)
    purge(local, actor="alice", yes=True)
    assert names(database) == ["3", "4"]
    assert b"what alice asked" not in _raw(database)


def _raw(database: Path) -> bytes:
    return b"".join(path.read_bytes() for path in database.parent.iterdir())


def test_traces_are_gone_though_nobody_hears_what_went(local: Settings, database: Path) -> None:
    put(database, interception("1", DAY, text="SECRETMARK"))
    assert b"SECRETMARK" in _raw(database)
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [*COMMAND, "purge", "--actor", "alice", "--yes"],
            env=environment() | {"AIBRIDGE_RECORDER__URL": local.recorder.url, "PYTHONUNBUFFERED": ""},
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert b"SECRETMARK" not in _raw(database)


def test_both_are_what_is_an_actor_s_and_before_a_day(local: Settings, database: Path) -> None:
    put(database)
    purge(local, actor="alice", before=BEFORE, yes=True)
    assert names(database) == ["2", "3", "4"]


def test_a_dry_run_says_it_and_changes_nothing(
    local: Settings, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(database)
    before = _raw(database)
    purge(local, before=BEFORE, dry_run=True)
    assert table(capsys.readouterr().out) == [[name, "2"] for name in TABLES] + [["open, left", "1"]]
    assert _raw(database) == before


def test_it_goes_from_the_journal_and_from_the_store(
    forwarded: Settings, database: Path, fresh_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Forwarded or not. Each has a column."""
    put(database, together(interception("5", DAY - SECOND), interception("6", DAY)))
    store(forwarded)
    purge(forwarded, before=BEFORE, yes=True)
    assert names(database) == ["6"]
    assert postgres_samples.ids(fresh_database, "interceptions") == ["2", "4"]
    shown = table(capsys.readouterr().out)
    assert shown == [[name, "1", "2"] for name in TABLES] + [["open, left", "0", "1"]]


def test_what_the_store_knows_as_open_and_the_journal_as_ended_goes_from_both(
    forwarded: Settings, database: Path, fresh_database: str
) -> None:
    """Its end was not yet forwarded, and never will be: nobody else would take it from the store."""
    put(database, interception("1", DAY))
    store(forwarded, together(interception("1", DAY, lasted=None), interception("2", DAY, lasted=None)))
    purge(forwarded, actor="alice", yes=True)
    assert names(database) == []
    assert postgres_samples.ids(fresh_database, "interceptions") == ["2"]


def test_it_waits_for_its_turn(forwarded: Settings, database: Path) -> None:
    """The forwarder's batch is on its way to the store: what was deleted now would come back there."""
    put(database)
    lock = database.parent / "records.db.forwarding.lock"
    thread = threading.Thread(target=purge, args=(forwarded,), kwargs={"actor": "alice", "yes": True})
    with turn(database):
        thread.start()
        waiter = re.compile(rf"-> FLOCK .*:{lock.stat().st_ino} ")
        eventually(lambda: waiter.search(Path("/proc/locks").read_text()), "somebody who waits for the lock")
        assert names(database) == ["1", "2", "3", "4"]
    thread.join(PATIENCE)
    assert names(database) == ["3", "4"]


def test_a_service_s_store_is_not_ours_to_purge(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(database)
    settings = Settings(recorder=Recorder(url="grpc://127.0.0.1:1", journal=database))
    purge(settings, before=BEFORE, yes=True)
    assert names(database) == ["2", "4"]
    assert capsys.readouterr().out.splitlines()[-1] == (
        "the Recorder service's own store is purged where the service runs, by the same command"
    )


def test_a_journal_that_is_not_there_is_told(
    forwarded: Settings, database: Path, fresh_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The machine may be another than the bridge's."""
    database.unlink()
    store(forwarded)
    purge(forwarded, actor="bob", yes=True)
    assert postgres_samples.ids(fresh_database, "interceptions") == ["1", "2", "4"]
    assert not database.exists()
    assert f"there is no journal at {database}" in capsys.readouterr().err


def test_nothing_is_deleted_unless_somebody_says_yes(local: Settings, database: Path) -> None:
    """Nobody can be asked here: standard input is no terminal."""
    put(database)
    with pytest.raises(BadSetting, match=r"^expected --yes, or a terminal to ask at$"):
        purge(local, before=BEFORE)
    assert names(database) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("answer", "left"), [("y", ["2", "4"]), ("n", ["1", "2", "3", "4"]), ("", ["1", "2", "3", "4"])]
)
def test_at_a_terminal_somebody_is_asked(database: Path, tmp_path: Path, answer: str, left: list[str]) -> None:
    """After what would go is shown. A no deletes nothing, and fails."""
    put(database)
    (tmp_path / "aibridge.toml").write_text(f'[recorder]\nurl = "sqlite:///{database}"\n')
    terminal, ours = pty.openpty()
    with os.fdopen(terminal, "wb", buffering=0) as keyboard, os.fdopen(ours) as there:
        keyboard.write(f"{answer}\n".encode())
        done = subprocess.run(
            [*COMMAND, "purge", "--before", BEFORE, "--config", tmp_path / "aibridge.toml"],
            cwd=ROOT,
            env=environment(),
            stdin=there,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert "to be deleted" in done.stdout
    assert "Delete them? [y/N]: " in done.stderr
    assert done.returncode == (0 if answer == "y" else 1)
    assert names(database) == left


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "expected --before DATE, --actor ID, or both"),
        (("--before", "yesterday"), "--before = 'yesterday': expected a day, YYYY-MM-DD"),
        (("--actor", "alice"), "expected --yes, or a terminal to ask at"),
    ],
)
def test_what_is_asked_wrongly_is_a_line_and_status_2(
    options: tuple[str, ...], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in set(environment()) ^ set(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    result = _run(*options)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"aibridge-sidecar: {line}\n")


def _run(*options: str) -> Result:
    before = structlog.get_config()
    try:
        return CliRunner().invoke(main, ["purge", *options], catch_exceptions=False)
    finally:
        structlog.configure(**before)  # commands set the process's logging up


def test_a_bridge_that_runs_goes_on(shared: Bridge, script: Script, case: str) -> None:
    """Its journal is its store; only this test's actor is purged."""
    script[case] = [whole(case)]
    for who in (f"actor-{case}", f"other-{case}"):
        ask(shared.port, case, ASKED, ("x-forwarded-user", who))
    result = _run("--config", str(shared.folder / "aibridge.toml"), "--actor", f"actor-{case}", "--yes")
    assert (result.exit_code, result.stderr) == (0, "")
    assert {one.interception["initiator_id"] for one in shared.sessions(case)} == {f"other-{case}"}
    ask(shared.port, case, ASKED, ("x-forwarded-user", f"actor-{case}"))
    assert len(shared.sessions(case)) == 2
