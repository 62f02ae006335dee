"""Waiting for what another process does: bounded, and over as soon as it is there."""

import threading
import time
from collections.abc import Callable, Sequence
from statistics import quantiles
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0  # seconds that a test waits at most: far longer than anything takes, on whatever machine
_BEAT = 0.02


def eventually(found: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """The first true thing that `found` returns; AssertionError after `patience` seconds without."""
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while not (result := found()):
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        pause.wait(_BEAT)
    return result


def undisturbed(seconds: Sequence[float]) -> float:
    """What the quickest quarter stays below: the median says how busy a machine is that others use too."""
    return quantiles(seconds, n=4)[0]
