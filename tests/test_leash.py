import os
import subprocess
import sys

from sidecar.leash import leashed
from tests.e2e.processes import is_running
from tests.e2e.waiting import eventually

PARENT = """
import subprocess, sys
from sidecar.leash import leashed
with subprocess.Popen(leashed(sys.executable, "-c", "input()"), stdin=subprocess.PIPE) as child:
    print(child.pid, flush=True)
    input()
"""


def test_it_becomes_the_program_with_all_that_this_was_given() -> None:
    """The same process, so that whoever started it may ask for its end and hear of it."""
    program = "import os, sys; print(os.getpid(), sys.argv[1:], os.environ)"
    command = leashed(sys.executable, "-c", program, "--config", "with a space")
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"A": "b"}, text=True) as child:
        said, _ = child.communicate()
    assert said == f"{child.pid} ['--config', 'with a space'] environ({{'A': 'b', 'LC_CTYPE': 'C.UTF-8'}})\n"
    assert child.returncode == 0


def test_it_ends_when_its_parent_is_killed() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen((sys.executable, "-c", PARENT), stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    eventually(lambda: not is_running(child), "it ended")


def test_it_does_not_begin_when_its_parent_has_gone() -> None:
    command = list(leashed(sys.executable, "-c", "print('here')"))
    command[command.index(str(os.getpid()))] = "1"
    said = subprocess.run(command, check=False, capture_output=True)
    assert (said.returncode, said.stdout, said.stderr) == (1, b"", b"")


def test_a_program_that_cannot_be_run_is_told_of_in_one_line() -> None:
    said = subprocess.run(leashed(__file__), check=False, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (1, f"{__file__} cannot be run: Permission denied\n")
