"""A bound on how long a server may keep us waiting that neither answers nor hangs up: stopped, or its machine stuck."""

import os
import socket
import threading
from contextlib import suppress
from typing import Any, Self

import psycopg


class Deadline:
    """Within it the connection is cut after so many seconds, whereupon whoever waits for it gets an `OperationalError`.

    Time limits of the server's are the server's to keep, and TCP's are kept by a kernel that is alive.
    """

    def __init__(self, connection: psycopg.Connection[Any], seconds: float) -> None:
        # A socket of our own: the connection's number may be another file's by then.
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._socket.close()

    def _cut(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
