"""Mostly in a process of its own: what is configured is the process's."""

import json
import os
import pty
import subprocess
import sys

import structlog

from sidecar import logs

PROGRAM = """
import logging, structlog
from sidecar import logs
logs.configure()
structlog.contextvars.bind_contextvars(worker="host:0")
log = structlog.get_logger()
log.debug("not worth it")
log.warning("said", interception="i-1", odd="\\u2028\\nnext")
"""


def test_a_line_is_json_where_a_machine_reads_it() -> None:
    """One line a message, whatever is in it; on standard error, with the worker's name and UTC."""
    said = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True)
    assert said.stdout == b""
    [line] = said.stderr.decode().splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "said",
        "level": "warning",
        "worker": "host:0",
        "interception": "i-1",
        "odd": "\u2028\nnext",
    }


def test_a_line_is_coloured_where_a_person_reads_it() -> None:
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, stderr=theirs)
    os.close(theirs)
    said = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "said" in said
    assert not said.lstrip().startswith("{")


def test_a_log_that_cannot_be_written_harms_nobody() -> None:
    """Its disk is full, and so perhaps the journal's: who says so must live to mend it."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-c", f"{PROGRAM}print('alive')"], check=False, stdout=subprocess.PIPE, stderr=full
        )
    assert done.stdout == b"alive\n"


def test_nobodys_lines_are_lost_below_warnings() -> None:
    """From `info` on; nothing of what was set up outlives the test."""
    before = structlog.get_config()
    try:
        logs.configure()
        after = structlog.get_config()
    finally:
        structlog.configure(**before)
    assert after["cache_logger_on_first_use"]
    assert after["wrapper_class"] is structlog.make_filtering_bound_logger(20)
