"""Ports for a server that is about to start: nobody else gets them meanwhile."""

import socket

LOOPBACK = "127.0.0.1"


def reserved() -> socket.socket:
    """A socket bound to a port of the kernel's choice, at which nobody listens; while it is open no other is given it.

    Whoever asks for just this port may listen there all the same, if it lets the address be reused, as servers do.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((LOOPBACK, 0))
    return held


def number(held: socket.socket) -> int:
    """The port that it is bound to."""
    return int(held.getsockname()[1])
