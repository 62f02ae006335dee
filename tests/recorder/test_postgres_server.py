"""The server that these tests go through: it must not outlive them, nor lose what it acknowledged."""

import shutil
import socket
import subprocess
import sys
import time

import pytest

from tests.postgres import PATIENCE, Postgres, execute

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
    until_refused(int(port))
    shutil.rmtree(folder)


def until_refused(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) != 0:
                return
    pytest.fail("it still listens")


def test_nothing_is_left_of_one_that_was_closed() -> None:
    with Postgres() as server:
        folder = server.folder
    assert not folder.exists()


def test_what_was_committed_survives_a_kill(postgres: Postgres, fresh_database: str) -> None:
    execute(fresh_database, "CREATE TABLE kept AS SELECT 1 AS value")
    postgres.kill()
    postgres.start()
    assert execute(fresh_database, "SELECT value FROM kept") == [(1,)]
