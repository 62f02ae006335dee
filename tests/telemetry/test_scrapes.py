"""The address where Prometheus asks."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from examples.ports import number, reserved
from sidecar.settings import Settings, Telemetry
from sidecar.telemetry.metrics import Metric, folder, scrapes, sheets
from sidecar.telemetry.metrics.scrapes import Scrapes
from tests.e2e.waiting import PATIENCE
from tests.telemetry.exposed import samples

ASKED = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"


@asynccontextmanager
async def serving(run: Path) -> AsyncIterator[int]:
    """The port that it answers at."""
    with reserved() as held:
        served = Scrapes(settings(run, number(held)))
        await served.open()
        yield number(held)
        served.close()


def settings(run: Path, port: int) -> Settings:
    return Settings(runtime_dir=run, telemetry=Telemetry(metrics=f"127.0.0.1:{port}"))


async def said(port: int, request: bytes) -> tuple[bytes, bytes]:
    """The status line and the body of the answer; empty where there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE):
        writer.write(request)
        try:
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        except ConnectionResetError:
            return b"", b""
        finally:
            writer.close()
    return head.partition(b"\r\n")[0], body


async def test_metrics_are_the_sum_of_all_processes(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        for process in ("worker-0", "keeper"):
            metrics = sheets.opened(settings(tmp_path, port), process)
            metrics.add(Metric.JOURNAL_COMMITS_TOTAL, 2)
            metrics.close()
        status, body = await said(port, ASKED)
    assert status == b"HTTP/1.1 200 OK"
    assert samples(body.decode())["journal_commits_total"] == 4
    assert b"# HELP aibridge_journal_commits_total " in body
    assert b"# TYPE aibridge_journal_commits_total counter" in body


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics?x=1 HTTP/1.0", b"HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.1", b"HTTP/1.1 404 Not Found"),
        (b"GET /metrics/ HTTP/1.1", b"HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.1", b"HTTP/1.1 405 Method Not Allowed"),
        (b"what", b"HTTP/1.1 400 Bad Request"),
        (b"", b"HTTP/1.1 400 Bad Request"),
    ],
)
async def test_nothing_else_is_to_be_had(tmp_path: Path, request_line: bytes, status: bytes) -> None:
    folder(Settings(runtime_dir=tmp_path)).mkdir()
    async with serving(tmp_path) as port:
        assert (await said(port, request_line + b"\r\n\r\n"))[0] == status


async def test_a_folder_that_is_gone_is_an_error_of_ours(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        assert (await said(port, ASKED))[0] == b"HTTP/1.1 500 Internal Server Error"


async def test_who_asks_for_too_long_or_too_much_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrapes, "_BOUND", 0.05)
    async with serving(tmp_path) as port:
        assert await said(port, b"GET /metrics HTTP/1.1\r\n") == (b"", b"")
        assert await said(port, b"GET /metrics HTTP/1.1\r\n" + b"x" * 100_000) == (b"", b"")


async def test_many_who_say_nothing_are_a_bounded_number(tmp_path: Path) -> None:
    """Whoever comes when they are too many is sent away, and served once some have gone."""
    folder(Settings(runtime_dir=tmp_path)).mkdir()
    async with serving(tmp_path) as port:
        with ExitStack() as stack:
            for _ in range(scrapes._MOST):  # noqa: SLF001 - as many as there may be
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            assert await said(port, ASKED) == (b"", b"")
        async with asyncio.timeout(PATIENCE):
            while not (await said(port, ASKED))[0]:
                pass


async def test_an_address_that_is_taken_is_a_warning(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as logged:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        served = Scrapes(Settings(runtime_dir=tmp_path, telemetry=Telemetry(metrics=address)))
        await served.open()
        served.close()
    [entry] = logged
    assert (entry["log_level"], entry["setting"], entry["address"]) == ("warning", "telemetry.metrics", address)
    assert "in use" in entry["reason"]


async def test_an_address_that_was_just_left_is_free(tmp_path: Path) -> None:
    """A restarted bridge finds connections of the last one in TIME_WAIT."""
    folder(Settings(runtime_dir=tmp_path)).mkdir()
    async with serving(tmp_path) as port:
        assert (await said(port, ASKED))[0] == b"HTTP/1.1 200 OK"
    with capture_logs() as logged:
        served = Scrapes(settings(tmp_path, port))
        await served.open()
        served.close()
    assert logged == []


async def test_no_address_is_nobody_who_listens(tmp_path: Path) -> None:
    served = Scrapes(Settings(runtime_dir=tmp_path, telemetry=Telemetry(metrics="")))
    await served.open()
    served.close()
    assert served._server is None  # noqa: SLF001 - there is no other way to see it
