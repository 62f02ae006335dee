"""The worker's life in this process; as a process of its own it is tested in `contract/`."""

import gc
import os
import pickle
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from sidecar import app
from sidecar.assignment import TIME, Assignment
from sidecar.recorder.journal.migration import migrate
from sidecar.settings import Recorder, Settings
from tests.e2e.waiting import PATIENCE


class Parent:
    """Who told this process what to do, and holds the other end of its standard input."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stdin, self._tells = os.pipe()
        self._hears, self._ready = os.pipe()

    def tell(self, worker: str = "host:0") -> None:
        settings = Settings(runtime_dir=self.folder, recorder=Recorder(url=f"sqlite:///{self.folder}/aibridge.db"))
        told = Assignment(settings=settings, socket=self.folder / "w.sock", worker=worker, ready=self._ready)
        os.write(self._tells, pickle.dumps(told))

    def hear(self) -> bytes:
        """What says that it serves."""
        return os.read(self._hears, 1)

    def leave(self) -> None:
        os.close(self._tells)

    def close(self) -> None:
        os.close(self._hears)
        os.close(self._ready)


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    told = Parent(tmp_path)
    with os.fdopen(told.stdin, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr("sidecar.logs.configure", lambda *_: None)  # this process's logs are pytest's
        before = signal.getsignal(signal.SIGINT)
        yield told
        signal.signal(signal.SIGINT, before)
        gc.unfreeze()
    told.close()


def beside(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("leaves", [True, False])
def test_a_worker_serves_until_it_is_told_to_stop_or_its_parent_is_gone(parent: Parent, leaves: bool) -> None:  # noqa: FBT001 - a parameter of the test's
    """In order: it listens, it says so, it is healthy, it drains, its journal is closed and whole."""
    migrate(parent.folder / "aibridge.db")
    parent.tell()
    health: list[int] = []

    def ask() -> None:
        assert parent.hear() == b"\n"
        try:
            with grpc.insecure_channel(f"unix:{parent.folder}/w.sock") as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                health.append(check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status)
        finally:
            if leaves:
                parent.leave()
            else:
                os.kill(os.getpid(), signal.SIGTERM)

    asking = beside(ask)
    app.main()
    asking.join()
    if not leaves:
        parent.leave()
    assert health == [health_pb2.HealthCheckResponse.SERVING]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert not (parent.folder / "aibridge.db-wal").exists()
    assert stat.S_IMODE((parent.folder / "aibridge.db").stat().st_mode) == 0o600


def test_a_journal_that_cannot_be_used_is_one_line_and_the_end(parent: Parent) -> None:
    parent.tell()
    with capture_logs() as logged, pytest.raises(SystemExit) as left:
        app.main()
    parent.leave()
    assert left.value.code == 1
    [entry] = logged
    assert (entry["log_level"], entry["event"]) == ("error", "worker cannot start")
    assert str(parent.folder / "aibridge.db") in entry["reason"]


def test_a_worker_has_less_time_to_stop_than_its_parent_is_given() -> None:
    """`up` drains and stops within 20 s; of a worker's time some is the journal's."""
    assert app.GRACE + app.LAST < TIME < 20
