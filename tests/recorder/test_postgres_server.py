"""The server that these tests go through: it must not outlive them, nor lose what it acknowledged."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

from tests.e2e.waiting import eventually
from tests.postgres import Postgres, execute

HELD = """
import sys
from tests.postgres import Postgres
with Postgres() as server:
    print(server.port, server.folder, flush=True)
    sys.stdin.read()
"""


def test_it_ends_with_who_started_it() -> None:
    """Killed, a test process can tidy nothing up."""
    holder = subprocess.Popen([sys.executable, "-c", HELD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        port, folder = holder.stdout.readline().split()
        holder.kill()
    eventually(lambda: is_refused(int(port)), "nobody listens")
    eventually(lambda: not (Path(folder) / "data" / "postmaster.pid").exists(), "it has tidied up")
    shutil.rmtree(folder)


def is_refused(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def test_nothing_is_left_of_one_that_was_closed() -> None:
    with Postgres() as server:
        folder = server.folder
    assert not folder.exists()


def test_what_was_committed_survives_a_kill(postgres: Postgres, fresh_database: str) -> None:
    execute(fresh_database, "CREATE TABLE kept AS SELECT 1 AS value")
    postgres.kill()
    postgres.start()
    assert execute(fresh_database, "SELECT value FROM kept") == [(1,)]
