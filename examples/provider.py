"""A small example provider, OpenAI-like: for the demo, the tests and the benchmarks.

    python -m examples.provider --port 8080

By itself it answers as `examples.model` does; tests script it, by the request's header `x-case` or by a function.
"""

import asyncio
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import click
import uvloop

from examples import http1, model
from examples.answers import Answer, Seen, error_answer

Answers = Mapping[str, Answer] | Callable[[Seen], Answer | None]
LOOPBACK = "127.0.0.1"
PACE = 0.02  # seconds: slow enough to be watched, fast enough for a demo
PATIENCE = 30.0  # seconds that a test waits at most


@dataclass(frozen=True, slots=True)
class _Marks:
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)


class Provider:
    """An asynchronous context manager: inside, it listens at `url`, and keeps what it saw in `seen`, by case.

    `answers` is a mapping from `x-case` (a case it does not know is a 500, a request without one is the model's to
    answer), or a function of the request (None leaves it to the model). `keys` are the API keys that the model likes,
    None for any; `pace` is the seconds between its events. `tls` makes it speak TLS. Without `keep` it forgets.
    """

    def __init__(  # noqa: PLR0913 - each has its default
        self,
        answers: Answers | None = None,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        keys: frozenset[str] | None = None,
        pace: float = PACE,
        tls: ssl.SSLContext | None = None,
        keep: bool = True,
    ) -> None:
        self.seen: defaultdict[str, list[Seen]] = defaultdict(list)
        self.url = ""
        self._answers, self._keys, self._pace, self._keep = answers, keys, pace, keep
        self._host, self._port, self._tls = host, port, tls
        self._marks: defaultdict[str, _Marks] = defaultdict(_Marks)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, self._host, self._port, ssl=self._tls, backlog=1024)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._server.wait_closed()

    def release(self, case: str = "") -> None:
        """Let the answers of this case that hold go on, now and later."""
        self._marks[case].released.set()

    async def arrival(self, case: str = "") -> Seen:
        """The last request of this case, as soon as there is one."""
        await self._marks[case].arrived.wait()
        return self.seen[case][-1]

    async def departure(self, case: str = "") -> None:
        """Returns when a client has left before its answer of this case was sent."""
        await self._marks[case].left.wait()

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(http1.Reader(), self._connection)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task  # noqa: S101 - a coroutine runs in one
        assert isinstance(reader, http1.Reader)  # noqa: S101 - the one `_protocol` made
        self._connections.add(task)
        # What is drained has been sent. (Over TLS asyncio would never resume a writer that may buffer nothing.)
        if self._tls is None:
            writer.transport.set_write_buffer_limits(0)
        try:
            while await self._exchange(reader, writer, task.cancel):
                pass
            writer.close()
        except (asyncio.CancelledError, ConnectionError):
            writer.transport.abort()
        finally:
            self._connections.discard(task)

    async def _exchange(self, reader: http1.Reader, writer: asyncio.StreamWriter, leave: Callable[[], bool]) -> bool:
        seen = await http1.request(reader, writer)
        if seen is None:
            return False
        self._see(seen)
        answer, marks = self._answer(seen), self._marks[seen.case]
        try:
            reader.watch(leave)
            whole = seen.complete and await http1.send(writer, answer, marks.released)
        except (asyncio.CancelledError, ConnectionError):
            marks.left.set()
            raise
        finally:
            reader.watch(None)
        if not whole:
            writer.transport.abort()
        return whole and not http1.closes((*seen.headers, *answer.headers))

    def _see(self, seen: Seen) -> None:
        if self._keep:
            self.seen[seen.case].append(seen)
            self._marks[seen.case].arrived.set()

    def _answer(self, seen: Seen) -> Answer:
        match self._answers:
            case Mapping() as answers if seen.case:
                return answers.get(seen.case) or error_answer(500, "Nobody scripted this case.", "no_such_case")
            case None | Mapping():
                return model.answer(seen, self._keys, self._pace)
            case function:
                return function(seen) or model.answer(seen, self._keys, self._pace)


class ThreadedProvider:
    """The same for synchronous tests: a context manager that runs a `Provider` in a thread of its own."""

    def __init__(self, provider: Provider | None = None) -> None:
        self._provider = provider or Provider()
        self._running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="example provider", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._running.result(PATIENCE)
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        loop, stop = self._running.result(PATIENCE)
        loop.call_soon_threadsafe(stop.set)
        self._thread.join(PATIENCE)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._provider.url

    @property
    def seen(self) -> Mapping[str, list[Seen]]:
        """What it saw, by case."""
        return self._provider.seen

    def release(self, case: str = "") -> None:
        """As `Provider.release`."""
        self._running.result()[0].call_soon_threadsafe(self._provider.release, case)

    def arrival(self, case: str = "", timeout: float = PATIENCE) -> Seen:
        """As `Provider.arrival`; TimeoutError after `timeout` seconds."""
        loop, _ = self._running.result()
        return asyncio.run_coroutine_threadsafe(self._provider.arrival(case), loop).result(timeout)

    def departure(self, case: str = "", timeout: float = PATIENCE) -> None:
        """As `Provider.departure`; TimeoutError after `timeout` seconds."""
        loop, _ = self._running.result()
        asyncio.run_coroutine_threadsafe(self._provider.departure(case), loop).result(timeout)

    async def _run(self) -> None:
        stop = asyncio.Event()
        try:
            async with self._provider:
                self._running.set_result((asyncio.get_running_loop(), stop))
                await stop.wait()
        except OSError as error:
            self._running.set_exception(error)


@click.command()
@click.option("--host", default=LOOPBACK, show_default=True, help="Where to listen.")
@click.option("--port", default=0, help="0: any that is free.")
@click.option("--key", "keys", multiple=True, help="An API key that it likes; without any it likes all.")
@click.option("--pace", default=PACE, show_default=True, help="Seconds between the events of a stream.")
def main(host: str, port: int, keys: tuple[str, ...], pace: float) -> None:
    """An example provider: prints its URL and answers until it is stopped."""
    uvloop.run(_forever(Provider(host=host, port=port, keys=frozenset(keys) or None, pace=pace, keep=False)))


async def _forever(provider: Provider) -> None:
    async with provider:
        click.echo(provider.url)
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
