"""A program that gives up root's rights, ends with its parent, and becomes another program (Linux).

    python demoted.py PARENT PROGRAM [ARGUMENT...]

`subprocess` can change the user and run a function between fork and exec, too. But then it forks in earnest, and so
runs what gRPC does before a fork: in a process with a gRPC server at rest, parent and child soon wait for each other.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); a change of user clears what it asks for


def demoted(program: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs `program` so, for whoever calls this to start."""
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()), program, *arguments)


def nobody() -> pwd.struct_passwd | None:
    """Whom root's programs run as; None: who is not root stays who they are."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def main(parent: str, program: str, *arguments: str) -> None:
    """Become `program`. The signal of a parent's end is the one at which PostgreSQL ends at once."""
    if user := nobody():
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
    if os.getppid() != int(parent):  # it ended before we asked
        sys.exit(1)
    os.execv(program, (program, *arguments))  # noqa: S606 - the tests' own command


if __name__ == "__main__":
    main(*sys.argv[1:])
