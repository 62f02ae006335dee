"""Mostly in a process of its own: what is configured is the process's."""

import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import structlog
from structlog.typing import EventDict

from sidecar import logs
from tests.e2e.waiting import PATIENCE, eventually

PROGRAM = """
import logging, structlog, threading
from sidecar import logs
logs.configure(worker="host:0")
log = structlog.get_logger()
log.debug("not worth it")
saying = threading.Thread(target=log.warning, args=["said"], kwargs=dict(interception="i-1", odd="\\u2028\\nnext"))
saying.start()
saying.join()
"""


def test_a_line_is_json_where_a_machine_reads_it() -> None:
    """One line a message, whatever is in it; on standard error, with UTC, and the worker's name in any thread."""
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


def test_who_has_no_standard_error_goes_on_and_its_number_is_no_other_files() -> None:
    program = f"{PROGRAM}\nimport os\nprint(os.readlink('/proc/self/fd/2'), os.get_inheritable(2))"
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"/dev/null True\n"


def test_a_line_is_coloured_where_a_person_reads_it() -> None:
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, stderr=theirs)
    os.close(theirs)
    said = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "said" in said
    assert not said.lstrip().startswith("{")


def test_nothing_that_a_client_says_steers_a_terminal() -> None:
    program = PROGRAM.replace("configure(", "configure('console', ").replace("\\u2028", "\\x1b[2J")
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stderr
    assert rb"\x1b[2J" in said
    assert b"\x1b[2J" not in said


def test_who_logs_does_not_load_what_prints_tables() -> None:
    """It costs memory in every process; and structlog would have it show the values of local variables."""
    program = "import sidecar.app, sidecar.supervisor, sys; print('rich' in sys.modules); import rich.table"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout == b"False\n"


def test_a_log_that_cannot_be_written_harms_nobody() -> None:
    """Its disk is full, and so perhaps the journal's: who says so must live to mend it."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-c", f"{PROGRAM}print('alive')"], check=False, stdout=subprocess.PIPE, stderr=full
        )
    assert done.stdout == b"alive\n"


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("console", False)])
def test_a_setting_says_what_a_line_looks_like(form: str, is_json: bool) -> None:  # noqa: FBT001 - as parametrized
    program = PROGRAM.replace("configure(", f"configure({form!r}, ")
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stderr
    assert said.startswith(b"{") is is_json
    assert b"said" in said


def test_who_logs_does_not_wait_for_a_pipe_that_nobody_reads() -> None:
    """It goes on and leaves in the end; had it waited, it would be here still."""
    program = f"{PROGRAM}\nfor n in range(3_000): log.info('x' * 100, number=n)\nprint('alive')"
    ours, theirs = os.pipe()
    try:
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, stderr=theirs, timeout=PATIENCE
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.stdout == b"alive\n"


def test_lines_that_do_not_fit_are_dropped_counted_and_told() -> None:
    """None of those that were written is cut, and their order is theirs."""
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    before = structlog.get_config()
    with open(ours, "rb", buffering=0) as read, open(theirs, "w") as written:  # noqa: PTH123 - descriptors
        patient = logs.Patient(written, most=10_000)
        try:
            structlog.configure(
                processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.WriteLoggerFactory(patient)
            )
            log = structlog.get_logger()
            for number in range(1_000):
                log.info("x" * 100, number=number)
            lines, dropped = [], 0
            while len(lines) + dropped < 1_000:  # told once, or twice where some went in between
                lines.append(json.loads(heard(read)))
                if lines[-1]["event"] == logs.DROPPED:
                    dropped += lines.pop()["lines"]
        finally:
            structlog.configure(**before)
        numbers = [line["number"] for line in lines]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + dropped == 1_000
    assert dropped > 500


def heard(pipe: BinaryIO) -> bytes:
    """The next line, which is waited for, but not for ever: who reads holds the other end as well."""
    assert select.select([pipe], [], [], PATIENCE)[0], "nothing more is said"
    return pipe.readline()


@contextmanager
def telling(patient: logs.Patient, before: Callable[[], None]) -> Iterator[list[int]]:
    """Has that done before what was dropped is told, once. Gives the numbers that were told of, said or not."""
    told: list[int] = []

    def noted(_: object, __: str, line: EventDict) -> EventDict:
        told.append(line["lines"])
        if len(told) == 1:
            before()
        return line

    outside = structlog.get_config()
    processors = [noted, structlog.processors.JSONRenderer()]
    structlog.configure(processors=processors, logger_factory=structlog.WriteLoggerFactory(patient))
    try:
        yield told
    finally:
        structlog.configure(**outside)


def test_what_was_dropped_is_told_though_there_is_no_room_again() -> None:
    """Others fill it before the thread that tells has said so."""
    ours, theirs = os.pipe()
    with open(ours, "rb", buffering=0) as read, open(theirs, "w") as written:  # noqa: PTH123 - descriptors
        patient = logs.Patient(written, most=100)

        def fill() -> None:
            others = threading.Thread(target=lambda: [patient.write("y" * 49 + "\n") for _ in range(3)])
            others.start()
            others.join()

        with telling(patient, fill) as told:
            patient.dropped = 7
            patient.write("first\n")
            lines = [heard(read) for _ in range(5)]
        assert lines[0] == b"first\n"
        assert [json.loads(line)["lines"] for line in lines if line.startswith(b"{")] == told == [7, 1]


def test_what_was_dropped_is_told_later_where_that_cannot_be_written(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as written, open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        patient, room = logs.Patient(written), os.dup(written.fileno())

        with telling(patient, lambda: os.dup2(full.fileno(), written.fileno()) and None) as told:
            patient.dropped = 7
            patient.write("first\n")
            eventually(lambda: patient.dropped == 7 and told, "lines counted again")
            os.dup2(room, written.fileno())
            patient.write("second\n")
            eventually(lambda: "lines" in (tmp_path / "log").read_text(), "lines told of")
        assert told == [7, 7]
        os.close(room)


def test_long_lines_of_several_processes_do_not_cut_each_other() -> None:
    """A pipe takes 4096 bytes at once (pipe(7)); a prompt is longer."""
    program = f"{PROGRAM}\nimport os\nfor n in range(20): log.info('long', text=str(os.getpid()) * 20_000)"
    ours, theirs = os.pipe()
    processes = [subprocess.Popen([sys.executable, "-c", program], stderr=theirs) for _ in range(3)]
    os.close(theirs)
    with open(ours, "rb") as read:  # noqa: PTH123 - a descriptor
        lines = [json.loads(line) for line in read]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(lines) == 3 * 21


def test_a_process_that_leaves_at_once_says_its_last_line_first() -> None:
    program = f"{PROGRAM}\nimport os\nlogs.drain()\nos._exit(3)"
    left = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert (left.returncode, b"said" in left.stderr) == (3, True)


def test_a_line_on_a_disk_that_is_full_is_told_of_once_there_is_room() -> None:
    """Nor is it tried again and again: it takes a later line to hear of it."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        patient = logs.Patient(full)
        patient.write("a line\n")
        patient.drain(PATIENCE)
        eventually(lambda: patient.dropped == 1, "a line counted")


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
