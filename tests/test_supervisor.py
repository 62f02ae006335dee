"""`up` and `serve` as processes: told to stop, killed, and started where something is wrong."""

import asyncio
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from sidecar import premises
from sidecar.core.errors import SidecarError
from sidecar.recorder.journal.connection import connect
from sidecar.recorder.journal.migration import migrate
from sidecar.recorder.journal.transaction import commit
from sidecar.recorder.rows import row
from sidecar.rotation import Rotation
from sidecar.settings import Settings
from sidecar.supervisor import Bridge as Supervisor
from tests.conftest import StartBridge
from tests.e2e import processes
from tests.e2e.bridges import COMMAND, ROOT, STOPPED_WITHIN, environment, free_ports, launched, written
from tests.e2e.connections import ask, asking
from tests.e2e.exchanges import ASKED, ASKED_STREAM, FIRST, PROMPT, pieces, streamed, whole
from tests.e2e.processes import children, is_running
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually
from tests.recorder.journal_samples import started

CLEANUP = 60.0  # seconds


@pytest.fixture
def in_folder(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a bridge in a folder of its own, for one that runs in this process."""
    listen, admin = free_ports()
    before = os.umask(0o077)
    yield Settings(
        listen=f"127.0.0.1:{listen}",
        admin=f"127.0.0.1:{admin}",
        runtime_dir=tmp_path / "run",
        recorder={"url": f"sqlite:///{tmp_path}/records.db"},
        providers=[{"name": "openai", "base_url": "http://127.0.0.1:1", "api_key": "sk-x"}],
    )
    os.umask(before)


def gone(pids: list[int]) -> bool:
    return not any(map(is_running, pids))


def refused(tmp_path: Path, command: str = "up", **settings: object) -> tuple[int, list[str]]:
    """Exit status and lines of one that cannot start; nothing of it is left, and it has touched no journal."""
    file = written(tmp_path, free_ports(), settings)
    done = subprocess.run(
        [*COMMAND, command, "--config", file],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=CLEANUP,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def signals_caught(pid: int) -> int:
    """The signals that it has handlers for, as a mask (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("SigCgt"))
    return int(mask, 16)


def test_told_to_stop_it_turns_new_clients_away_and_lets_a_stream_end(
    start_bridge: StartBridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    running = start_bridge()
    script[case] = streamed(case, hold=1)
    pids = running.children()
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        first = connection.until(FIRST)
        running.process.terminate()
        eventually(lambda: running.health() == 503, "the drain")
        provider.release(case)
        rest = connection.rest()
    assert (first + rest[0], rest[1]) == (b"".join(pieces(case)), True)
    assert running.process.wait(STOPPED_WITHIN) == 0
    assert gone(pids)
    assert running.session(case).ended == ("completed", None, 200)


def test_a_stream_that_does_not_end_does_not_keep_it(start_bridge: StartBridge, script: Script, case: str) -> None:
    """It stops within its bound; what was cut is on record as that."""
    running = start_bridge()
    script[case] = streamed(case, hold=1)
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        assert running.stop() == 0
        assert connection.rest()[1] is False
    recorded = running.session(case)
    assert recorded.interception["status"] == "failed"
    assert recorded.asked == [(f"resp_{case}", PROMPT)]


def test_a_second_signal_does_not_wait_for_streams(start_bridge: StartBridge, script: Script, case: str) -> None:
    running = start_bridge()
    script[case] = streamed(case, hold=1)
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        running.process.terminate()
        eventually(lambda: running.health() == 503, "the drain")
        running.process.send_signal(signal.SIGINT)
        assert connection.rest()[1] is False
        assert running.process.wait(STOPPED_WITHIN) == 0
    assert running.session(case).interception["status"] == "failed"
    assert "lost" not in running.output


def test_ctrl_c_is_the_parent_s_to_hear(
    start_bridge: StartBridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """A terminal sends it to the whole group: children that heard it would cut what is to be drained."""
    running = start_bridge()
    pids = running.children()
    assert [os.getpgid(pid) for pid in pids] == pids
    script[case] = streamed(case, hold=1)
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        os.killpg(running.process.pid, signal.SIGINT)
        eventually(lambda: running.health() == 503, "the drain")
        provider.release(case)
        assert connection.rest()[1] is True
    assert running.process.wait(STOPPED_WITHIN) == 0
    assert gone(pids)
    assert "Traceback" not in running.output


@pytest.mark.parametrize("is_busy", [False, True])
def test_nothing_outlives_a_parent_that_is_killed(
    start_bridge: StartBridge,
    script: Script,
    case: str,
    is_busy: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Workers hear the end of their input, Envoy the kernel. What was under way is on record."""
    running = start_bridge(workers=2)
    eventually(lambda: len(running.workers()) == 2, "two workers")
    pids = running.children()
    assert len(pids) == 3
    script[case] = streamed(case, hold=1)
    if not is_busy:
        running.process.kill()
    else:
        with asking(running.port, case, ASKED_STREAM) as connection:
            connection.head()
            connection.until(FIRST)
            running.process.kill()
            assert connection.rest()[1] is False
    running.process.wait()
    eventually(lambda: gone(pids), "the end of its children", STOPPED_WITHIN)
    if is_busy:
        assert running.session(case).ended == ("failed", "disconnected", 200)


def test_nothing_outlives_a_parent_that_is_killed_while_it_starts(tmp_path: Path, provider: ThreadedProvider) -> None:
    process = launched(tmp_path, written(tmp_path, free_ports(), {"providers": [{"base_url": provider.url}]}))
    found = eventually(lambda: children(process.pid), "a child", CLEANUP)
    process.kill()
    process.wait()
    eventually(lambda: gone(found), "the end of its children", STOPPED_WITHIN)


def test_workers_hold_the_runtime_directory_and_envoy_does_not(start_bridge: StartBridge) -> None:
    """The lock lasts as long as whoever listens in there, and no longer."""
    running = start_bridge()
    lock = running.run / "lock"
    assert [processes.holds(pid, lock) for pid in (running.process.pid, *running.workers())] == [True, True]
    assert not processes.holds(running.envoy(), lock)


def test_told_to_stop_while_it_starts_it_starts_nothing_more(tmp_path: Path) -> None:
    """Here it waits for its journal, which somebody else has locked, to end what another one left open in it."""
    file, database = written(tmp_path, free_ports(), {}), tmp_path / "records.db"
    migrate(database)
    with closing(connect(database)) as connection:
        commit(connection, [row(started(), "unused", "host:127.0.0.1:1:gone:0")])
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = launched(tmp_path, file)
        eventually(lambda: signals_caught(process.pid) & 1 << signal.SIGTERM - 1, "its handlers", CLEANUP)
        process.terminate()
        other.execute("ROLLBACK")
        assert process.wait(STOPPED_WITHIN) == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["lock"]
    assert '"ready"' not in (tmp_path / "output.log").read_text()


def test_told_to_stop_while_its_workers_start_it_stops_them(tmp_path: Path) -> None:
    process = launched(tmp_path, written(tmp_path, free_ports(), {}))
    output = tmp_path / "output.log"
    (worker,) = eventually(
        lambda: [pid for pid in children(process.pid) if "sidecar.app" in processes.command(pid)], "a worker", CLEANUP
    )
    os.kill(worker, signal.SIGSTOP)  # it does not come to serve before its parent has heard
    process.terminate()
    eventually(lambda: '"stopping"' in output.read_text(), "the stop")
    with suppress(ProcessLookupError):  # one that had not yet been told what to do is not waited for
        os.kill(worker, signal.SIGCONT)
    assert process.wait(STOPPED_WITHIN) == 0
    assert gone([worker])
    assert '"ready"' not in output.read_text()


def test_it_can_be_started_again_where_it_was(start_bridge: StartBridge, script: Script, case: str) -> None:
    script[case] = whole(case)
    first = start_bridge()
    assert ask(first.port, case, ASKED).status == 200
    assert first.stop() == 0
    second = start_bridge(ports=(first.port, first.admin))
    assert ask(second.port, case, ASKED).status == 200
    assert second.stop() == 0
    assert [one.ended for one in second.sessions(case)] == [("completed", None, 200)] * 2


def test_without_a_key_it_warns_and_serves_who_brings_one(
    start_bridge: StartBridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    script[case] = whole(case)
    running = start_bridge(providers=[{"name": "openai", "base_url": f"{provider.url}/v1"}])
    (line,) = (line for line in running.output.splitlines() if "no key" in line)
    assert '"level": "warning"' in line
    assert '"setting": "providers[0].api_key"' in line
    assert ask(running.port, case, ASKED, ("authorization", "Bearer sk-own")).status == 200


def test_serve_runs_the_workers_alone(tmp_path: Path) -> None:
    """For an Envoy that is there already: each worker listens at its socket, and is gone afterwards."""
    process = launched(tmp_path, written(tmp_path, free_ports(), {"workers": 2}), "serve")
    eventually(lambda: '"ready"' in (tmp_path / "output.log").read_text(), "ready", CLEANUP)
    pids = children(process.pid)
    serving = [path for path in (tmp_path / "run").glob("*.sock") if any(processes.listens(pid, path) for pid in pids)]
    assert (len(pids), len(serving)) == (2, 2)
    process.terminate()
    assert process.wait(STOPPED_WITHIN) == 0
    assert gone(pids)


@pytest.mark.parametrize("name", ["listen", "admin"])
def test_a_port_that_is_taken_is_one_line(tmp_path: Path, provider: ThreadedProvider, name: str) -> None:
    address = provider.url.removeprefix("http://")
    assert refused(tmp_path, **{name: address}) == (
        2,
        [f"aibridge-sidecar: {name} = '{address}': Address already in use"],
    )
    assert not (tmp_path / "records.db").exists()


def test_another_bridge_in_the_same_place_is_one_line(start_bridge: StartBridge, tmp_path: Path) -> None:
    """After another that said what it was waiting for."""
    running = start_bridge()
    (tmp_path / "other").mkdir()
    run = str(running.run)
    status, (waiting, said) = refused(tmp_path / "other", runtime_dir=run)
    assert "waiting for another bridge to end" in waiting
    assert (status, said) == (2, f"aibridge-sidecar: runtime_dir = '{run}': another bridge is using it")
    assert running.health() == 200


def test_a_runtime_directory_that_is_open_to_others_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o755)
    status, lines = refused(tmp_path)
    allowed = "allowed: a directory of your own that nobody else can enter (chmod 700)"
    assert (status, lines) == (2, [f"aibridge-sidecar: runtime_dir = '{tmp_path}/run': {allowed}"])
    assert not (tmp_path / "records.db").exists()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"workers": 0}, "workers = 0: allowed: greater than or equal to 1"),
        ({"listen": "here"}, 'listen = "here": allowed: host:port, the host an IP address'),
        ({"nonsense": 1}, "nonsense = ***: no such setting; allowed: listen"),
        ({"envoy": "/nowhere/envoy"}, 'envoy = "/nowhere/envoy": allowed: the path of a file that exists'),
    ],
)
@pytest.mark.parametrize("command", ["up", "serve"])
def test_a_wrong_setting_is_one_line(tmp_path: Path, settings: dict[str, object], line: str, command: str) -> None:
    status, lines = refused(tmp_path, command, **settings)
    assert (status, len(lines)) == (2, 1)
    assert lines[0].startswith(f"aibridge-sidecar: {line}")
    assert not (tmp_path / "run").exists()


def test_an_envoy_that_is_none_is_one_line(tmp_path: Path) -> None:
    """One that cannot be run, before anything is started; one that can but ends, with nothing left."""
    fake = tmp_path / "envoy"
    fake.write_text("text, not a program")
    assert refused(tmp_path, envoy=str(fake)) == (2, [f"aibridge-sidecar: envoy = '{fake}': not executable"])
    assert not (tmp_path / "records.db").exists()
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o700)
    status, lines = refused(tmp_path, envoy=str(fake))
    assert (status, lines[-1]) == (1, "aibridge-sidecar: Envoy did not come to serve; its own lines say why")


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to look like one. " * 40])
def test_a_journal_that_cannot_be_is_one_line(tmp_path: Path, content: bytes) -> None:
    if content:
        (tmp_path / "records.db").write_bytes(content)
    else:
        (tmp_path / "records.db").mkdir()
    status, lines = refused(tmp_path)
    assert status == 1
    assert lines[-1].startswith(f"aibridge-sidecar: journal {tmp_path}/records.db: ")
    assert "Traceback" not in "\n".join(lines)


async def test_what_runs_in_one_process_runs_until_it_is_told_to_stop(in_folder: Settings) -> None:
    """The parent by itself, its children real."""
    others = children(os.getpid())
    with premises.runtime_dir(in_folder) as lock:
        supervisor = Supervisor(Rotation(in_folder), premises.envoy(in_folder), lock)
        running = asyncio.create_task(supervisor.run())
        host, port = in_folder.listen.split(":")
        reader, writer = await asyncio.wait_for(connected(host, int(port), running), CLEANUP)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 ")
        writer.close()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(running, STOPPED_WITHIN)
    assert children(os.getpid()) == others


async def test_a_child_that_cannot_start_ends_the_others(in_folder: Settings) -> None:
    others = children(os.getpid())
    with (
        premises.runtime_dir(in_folder) as lock,
        pytest.raises(SidecarError, match="Envoy did not come to serve"),
    ):
        await asyncio.wait_for(Supervisor(Rotation(in_folder), Path("/bin/false"), lock).run(), CLEANUP)
    assert children(os.getpid()) == others


async def connected(
    host: str, port: int, running: asyncio.Task[None]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, as soon as somebody listens."""
    while not running.done():
        try:
            return await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.wait((running,), timeout=0.05)
    running.result()
    raise AssertionError
