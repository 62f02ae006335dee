"""Clients that ask one after another, whatever becomes of the bridge, and note what they have read to its end."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Self

from examples.answers import Answer, Seen
from tests.e2e.connections import Connection, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, pieces, streamed, whole
from tests.e2e.waiting import PATIENCE

PACE = 0.01  # seconds between two pieces of an answer, and before one in JSON
SLOWEST = 50  # pieces a second that come through on whatever machine
ENDLESS = "endless-"
_RESPITE = 0.1  # seconds before a client asks again that was not served
_BROKEN = (OSError, EOFError)


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and what its client has read of the answer. Times are monotonic."""

    name: str
    streams: bool
    began: float
    ended: float = 0.0
    status: int = 0
    body: bytes = b""
    is_whole: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    @property
    def is_read(self) -> bool:
        """Whether the client has a provider's answer to its end: that must be in the records."""
        return self.status == 200 and self.is_whole

    @property
    def is_intact(self) -> bool:
        """Whether what it has is what the provider sent."""
        return self.body == (b"".join(pieces(self.name)) if self.streams else whole(self.name).body)


class Traffic:
    """A context manager: inside, clients ask at `port`, JSON and streams by turns, each under names of its own."""

    def __init__(self, port: int, name: str, clients: int = 8) -> None:
        self.exchanges: list[Exchange] = []
        self._port = port
        self._heard = threading.Condition()
        self._pieces = 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._client, args=(f"{name}-{number}", number)) for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def flows(self, pieces: int) -> None:
        """Return when the clients have read so many more pieces of answers."""
        with self._heard:
            wanted = self._pieces + pieces
            assert self._heard.wait_for(lambda: self._pieces >= wanted, PATIENCE + pieces / SLOWEST), "nobody is served"

    def hear(self) -> None:
        """One more piece was read."""
        with self._heard:
            self._pieces += 1
            self._heard.notify_all()

    def _client(self, name: str, number: int) -> None:
        for turn in count():
            if self._stop.is_set():
                return
            done = exchange(self._port, f"{name}-{turn}", streams=(number + turn) % 2 == 0, heard_by=self)
            self.exchanges.append(done)
            if not done.is_read:
                self._stop.wait(_RESPITE)


def exchange(port: int, name: str, *, streams: bool, heard_by: Traffic | None = None) -> Exchange:
    """Ask once, on a connection of its own and under that name; `heard_by` hears of each piece of the answer."""
    done = Exchange(name=name, streams=streams, began=time.monotonic())
    with suppress(*_BROKEN), Connection(port) as connection:
        connection.send(request(name, ASKED_STREAM if streams else ASKED))
        head = connection.head()
        done.status = head.status
        for piece in connection.body(head):
            done.body += piece
            if heard_by:
                heard_by.hear()
        done.is_whole = True
    done.ended = time.monotonic()
    return done


def answer(seen: Seen) -> Answer:
    """What the provider says to these clients: slowly, so that something is under way at any moment.

    What has a name that begins with `ENDLESS` it begins to say.
    """
    if seen.case.startswith(ENDLESS):
        return streamed(seen.case, hold=1)
    if b'"stream":true' in seen.body:
        return streamed(seen.case, pace=PACE)
    return whole(seen.case, hang=PACE)
