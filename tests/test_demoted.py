"""Whom the tests' PostgreSQL runs as, and that starting it waits for nobody."""

import os
import subprocess
import sys

from tests.demoted import demoted, nobody

# What a test process has in it that started a server and a channel for other tests.
BESIDE_GRPC = """
import subprocess, sys
from concurrent.futures import ThreadPoolExecutor
import grpc
from tests.demoted import demoted
server = grpc.server(ThreadPoolExecutor(1))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    grpc.channel_ready_future(channel).result()
    for _ in range(30):
        subprocess.run(demoted("/bin/true"), check=True)
server.stop(None).wait()
"""


def test_it_runs_as_nobody_where_root_asks() -> None:
    said = subprocess.run(demoted("/usr/bin/id", "-u"), check=True, capture_output=True, text=True).stdout
    user = nobody()
    assert int(said) == (user.pw_uid if user else os.geteuid())


def test_a_parent_that_has_ended_before_is_noticed() -> None:
    """The number of its parent is given along: another one has it if that has ended meanwhile."""
    command = list(demoted("/bin/true"))
    command[command.index(str(os.getpid()))] = "0"
    assert subprocess.run(command, check=False).returncode == 1


def test_it_starts_beside_a_grpc_server_at_rest() -> None:
    """With a user and a function for between fork and exec, `subprocess` stood still within seconds."""
    subprocess.run([sys.executable, "-c", BESIDE_GRPC], check=True, timeout=120)
