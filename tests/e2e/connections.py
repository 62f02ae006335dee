"""A client whose every byte is ours: HTTP/1.1 (RFC 9112) over one TCP connection."""

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from tests.e2e.waiting import PATIENCE

Pairs = tuple[tuple[str, str], ...]
RESPONSES = "/openai/v1/responses"
ACTOR = "ada"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back; `whole` False when the connection ended before the body did."""

    status: int
    headers: Pairs
    body: bytes = b""
    whole: bool = True

    def first(self, name: str) -> str | None:
        """The first value under this (lower-case) name."""
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> Any:  # noqa: ANN401 - whatever stands there
        """The body, read as JSON."""
        return json.loads(self.body)


def headers(case: str, *more: tuple[str, str]) -> Pairs:
    """What a client of ours says: who asks, in which session (named for the case), and what `more` says instead."""
    usual = {
        "host": "bridge.example",
        "user-agent": "codex_cli_rs/0.99",
        "content-type": "application/json",
        "x-forwarded-user": ACTOR,
        "session_id": case,
        "x-case": case,
    }
    own = {name for name, _ in more}
    return (*((name, value) for name, value in usual.items() if name not in own), *more)


def request(case: str, body: bytes = b"", *more: tuple[str, str], method: str = "POST", path: str = RESPONSES) -> bytes:
    """A request as it goes over the wire; its length is told unless `more` frames it."""
    pairs = headers(case, *more)
    if not {"content-length", "transfer-encoding"} & {name for name, _ in pairs}:
        pairs = (*pairs, ("content-length", str(len(body))))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Connection:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def fileno(self) -> int:
        """For `select`: whether something has come."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._socket.sendall(data)

    def reset(self) -> None:
        """Hang up without a word: the other side's next read fails."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.__exit__()

    def head(self) -> Response:
        """The next response's status and headers, interim ones included."""
        start = self._line()
        assert start.startswith("HTTP/1.1 "), f"no response but {start!r}"
        pairs = []
        while line := self._line():
            name, _, value = line.partition(":")
            pairs.append((name.lower(), value.strip()))
        return Response(status=int(start.split()[1]), headers=tuple(pairs))

    def chunks(self) -> Iterator[bytes]:
        """The chunks of a chunked body; EOFError when they end too soon."""
        while size := int(self._line(), 16):
            chunk = self.exactly(size)
            self._line()
            yield chunk
        while self._line():
            continue

    def until(self, marker: bytes) -> bytes:
        """What comes of a chunked body until `marker` has."""
        got = b""
        for chunk in self.chunks():
            got += chunk
            if marker in got:
                return got
        raise AssertionError(got)

    def response(self) -> Response:
        """The next response, whole or as far as it came."""
        head = self.head()
        body, whole = _joined(self.body(head))
        return Response(status=head.status, headers=head.headers, body=body, whole=whole)

    def rest(self) -> tuple[bytes, bool]:
        """What is left of a chunked body, and whether it came to its end."""
        return _joined(self.chunks())

    def ended(self) -> bool:
        """Whether the other side has hung up: waits for it, and for nothing else."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True

    def body(self, head: Response) -> Iterator[bytes]:
        """The body that follows this head, piece by piece; EOFError when it ends too soon."""
        if head.status in {204, 304}:
            return
        if head.first("transfer-encoding") == "chunked":
            yield from self.chunks()
        elif length := head.first("content-length"):
            yield self.exactly(int(length))
        else:
            yield from iter(self._file.read, b"")

    def _line(self) -> str:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError(line)
        return line.decode("latin-1").rstrip("\r\n")

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes; EOFError when there are not so many."""
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError(size - len(data))
        return data


def ask(
    port: int, case: str, body: bytes = b"", *more: tuple[str, str], method: str = "POST", path: str = RESPONSES
) -> Response:
    """One request on a connection of its own, and its response."""
    with Connection(port) as connection:
        connection.send(request(case, body, *more, method=method, path=path))
        return connection.response()


def serves(port: int) -> bool:
    """Whether somebody is there, and `/healthz` says that it is ready."""
    try:
        return ask(port, "", method="GET", path="/healthz").status == 200
    except (OSError, EOFError):
        return False


@contextmanager
def asking(
    port: int, case: str, body: bytes = b"", *more: tuple[str, str], method: str = "POST", path: str = RESPONSES
) -> Iterator[Connection]:
    """The connection on which that request has been sent."""
    with Connection(port) as connection:
        connection.send(request(case, body, *more, method=method, path=path))
        yield connection


def _joined(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    got: list[bytes] = []
    try:
        got.extend(chunks)
    except (EOFError, ConnectionError):
        return b"".join(got), False
    return b"".join(got), True
