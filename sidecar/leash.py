"""A program that ends when its parent does, however that may be (Linux).

    python leash.py PARENT PROGRAM [ARGUMENT...]

It asks the kernel for that and then becomes the program. `subprocess` could have the same done between fork and exec
(`preexec_fn`), but what Python runs there may wait for ever for a lock that another thread of the parent had, and the
parent for it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2): a signal that comes when the parent has ended; it outlives exec


def leashed(program: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs `program` so, for whoever calls this to start."""
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()), program, *arguments)


def _main(parent: str, program: str, *arguments: str) -> None:
    library = ctypes.CDLL(None)
    if hasattr(library, "prctl"):
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it ended before we asked
        sys.exit(1)
    try:
        os.execv(program, (program, *arguments))  # noqa: S606 - our parent's own command
    except OSError as error:
        sys.exit(f"{program} cannot be run: {error.strerror}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
