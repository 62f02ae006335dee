"""Make the files that standard input orders, and print what became of them: python -m sidecar.secrets, for our parent.

A process of its own, so that what is in files with keys is in none that stays.
"""

import pickle
import sys

from sidecar.secrets.files import outcomes

if __name__ == "__main__":
    sys.stdout.buffer.write(pickle.dumps(outcomes(pickle.load(sys.stdin.buffer))))  # noqa: S301 - from our own parent, through a pipe
