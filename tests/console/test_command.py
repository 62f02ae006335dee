"""`aibridge-sidecar console`: how it starts, ends and fails."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.cli import main
from tests.console.consoles import Console, begun, console
from tests.e2e.waiting import PATIENCE, eventually
from tests.postgres import Postgres
from tests.stores import sqlite

# As where the extra is not installed: nothing of that name is found.
WITHOUT = "import sys; sys.modules[{!r}] = None; from sidecar import cli; cli.main()"


def ended(started: Console) -> int:
    return started.process.wait(PATIENCE)


def test_it_ends_at_once_when_told_to(tmp_path: Path) -> None:
    """Even with a connection that is kept."""
    with sqlite(tmp_path) as store, console(tmp_path / "console", store.settings) as running:
        with socket.create_connection(("127.0.0.1", running.port)):
            assert running.get("/").status == 200
            assert running.stop() == 0
        assert "Traceback" not in running.output


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with begun(tmp_path, {"url": f"sqlite:///{tmp_path}/records.db"}, port) as started:
            assert ended(started) == 2
    (line,) = started.output.splitlines()
    assert line == f"aibridge-sidecar: console.listen = '127.0.0.1:{port}': Address already in use"


@pytest.mark.parametrize("url", ["grpc://127.0.0.1:1", "grpcs://127.0.0.1:1"])
def test_a_service_is_no_database(tmp_path: Path, url: str) -> None:
    with begun(tmp_path, {"url": url}) as started:
        assert ended(started) == 2
    (line,) = started.output.splitlines()
    assert f"recorder.url = '{url}'" in line


def test_others_than_this_machine_need_a_token(tmp_path: Path) -> None:
    with begun(tmp_path, {"url": f"sqlite:///{tmp_path}/records.db"}, listen="0.0.0.0:9480") as started:
        assert ended(started) == 2
    assert "console.token" in started.output


@pytest.mark.parametrize(("module", "extra"), [("jinja2", "console"), ("uvicorn", "console"), ("psycopg", "postgres")])
def test_without_an_extra_it_says_what_to_install(tmp_path: Path, module: str, extra: str) -> None:
    file = tmp_path / "aibridge.toml"
    file.write_text('recorder.url = "postgresql://nobody@127.0.0.1:1/nothing"\n')
    command = [sys.executable, "-c", WITHOUT.format(module), "console", "--config", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == 1
    assert run.stderr == f"aibridge-sidecar: the console needs {module}: pip install 'aibridge-sidecar[{extra}]'\n"


def test_a_journal_that_is_not_there_is_told_on_a_page(tmp_path: Path) -> None:
    with begun(tmp_path, {"url": f"sqlite:///{tmp_path}/records.db"}) as started:
        eventually(lambda: '"ready"' in started.output, "a console")
        page = started.get("/")
        assert page.status == 503
        assert "there is no such file" in page.text
        assert started.get("/console.css").status == 200
        assert "Traceback" not in started.output


def test_a_database_that_went_away_is_told_on_a_page(tmp_path: Path) -> None:
    with Postgres() as server, server.database() as url:
        with begun(tmp_path, {"url": url}) as started:
            eventually(lambda: '"ready"' in started.output, "a console")
            server.stop()
            page = started.get("/")
            server.start()
        assert page.status == 503
        assert "The records cannot be read now" in page.text
        assert server.password not in page.text + started.output
        assert "Traceback" not in started.output


def test_it_is_a_command() -> None:
    assert "console" in main.commands
