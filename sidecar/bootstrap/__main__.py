"""Print the bootstrap for the settings that standard input brings: python -m sidecar.bootstrap, for our own parent.

A process of its own, since Envoy's messages as classes would take 40 MiB of the parent's memory for as long as it runs.
"""

import pickle
import sys

from sidecar.bootstrap import render

if __name__ == "__main__":
    sys.stdout.write(render(pickle.load(sys.stdin.buffer)))  # noqa: S301 - from our own parent, through a pipe
