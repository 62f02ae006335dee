"""HTTP/2 as whoever means harm speaks it: nothing that is sent is checked first."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

from tests.e2e.connections import RESPONSES, Pairs, headers
from tests.e2e.waiting import PATIENCE

_MANY = 65_536  # bytes
STREAM = 1


@dataclass(slots=True)
class Heard:
    """What came back on one stream; `status` 0 where there was no answer."""

    status: int = 0
    body: bytes = b""
    is_over: bool = field(default=False, repr=False)  # no more will come of it

    def hear(self, event: object) -> None:
        """Take note of one of h2's events."""
        match event:
            case ResponseReceived():
                self.status = int(dict(event.headers)[b":status"])
            case DataReceived():
                self.body += event.data
            case StreamEnded() | StreamReset():
                self.is_over = True


@contextmanager
def spoken(port: int) -> Iterator[tuple[socket.socket, H2Connection]]:
    """A connection on which both sides have said their settings."""
    connection = H2Connection(H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
        connection.initiate_connection()
        plain.sendall(connection.data_to_send())
        connection.receive_data(plain.recv(_MANY))
        yield plain, connection


def pairs(case: str) -> Pairs:
    """What a client of ours says, and in which order."""
    pseudo = ((":method", "POST"), (":path", RESPONSES), (":scheme", "http"), (":authority", "bridge.example"))
    return (*pseudo, *(pair for pair in headers(case) if pair[0] != "host"))


def exchange(port: int, said: Pairs, body: Sequence[bytes], trailers: Pairs = ()) -> Heard:
    """One request on a connection of its own: headers, a frame for each piece of the body, trailers if there are."""
    heard = Heard()
    with spoken(port) as (plain, connection), suppress(ConnectionError):
        connection.send_headers(STREAM, _encoded(said))
        for piece in body:
            connection.send_data(STREAM, piece, end_stream=not trailers and piece is body[-1])
        if trailers:
            connection.send_headers(STREAM, _encoded(trailers), end_stream=True)
        plain.sendall(connection.data_to_send())
        while not heard.is_over and (data := plain.recv(_MANY)):
            for event in connection.receive_data(data):
                heard.hear(event)
            plain.sendall(connection.data_to_send())
    return heard


def _encoded(said: Pairs) -> list[tuple[bytes, bytes]]:
    """As they stand: a NUL or a line end is one more byte to HPACK."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in said]
