"""Print the bootstrap for the settings that standard input brings: python -m sidecar.bootstrap, for our own parent.

A process of its own, since Envoy's messages as classes would take 40 MiB of the parent's memory for as long as it runs.
"""

import pickle
import resource
import sys

from sidecar.bootstrap import MAX_CONNECTIONS, render

_OTHERS = 200  # files that Envoy has open besides


def _connections() -> int:
    """As many as there are files for: one of a client and one to a provider each. Envoy raises its limit by itself.

    Where files run out first, it spins, and answers nobody. (A client over HTTP/2 may need more of
    them, to a provider that does not speak it.)
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, max(1, (files - _OTHERS) // 2))


if __name__ == "__main__":
    sys.stdout.write(render(pickle.load(sys.stdin.buffer), _connections()))  # noqa: S301 - from our own parent, through a pipe
