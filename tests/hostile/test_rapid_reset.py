"""HTTP/2 as nobody in good faith speaks it: its connection is ended, and others are served as if nothing were."""

import socket
from collections.abc import Iterator

import pytest
from h2.connection import H2Connection
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame, PingFrame, PriorityFrame, SettingsFrame

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually
from tests.hostile.http2 import pairs, spoken

RESETS = 2_000  # streams; Envoy looks after 500
AT_ONCE = 50  # streams opened and reset in one write
FLOOD = 200_000  # frames
OPEN = "SELECT * FROM interceptions WHERE client_session_id = ? AND ended_at IS NULL"


def asked(connection: H2Connection, case: str, body: bytes) -> int:
    """The stream on which that request is."""
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, pairs(case), end_stream=False)
    if body:
        connection.send_data(stream, body, end_stream=True)
    return stream


def hung_up(plain: socket.socket) -> bool:
    """Whether the other side has ended the connection: reads what there is, and waits for it."""
    try:
        while plain.recv(65_536):
            continue
    except ConnectionError:
        pass
    return True


def assert_serves(shared: Bridge, script: Script, case: str) -> None:
    script[case] = whole(case)
    assert ask(shared.port, case, ASKED).body == whole(case).body
    assert shared.session(case).ended == ("completed", None, 200)


@pytest.mark.parametrize("body", [b"", ASKED], ids=["headers alone", "whole requests"])
def test_who_resets_one_stream_after_another_is_hung_up_on(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, body: bytes
) -> None:
    """CVE-2023-44487. What the provider was asked by then is on record, with its end."""
    script[case] = whole(case)
    before = shared.statistic("http.aibridge.downstream_rq_too_many_premature_resets")
    with spoken(shared.port) as (plain, connection):
        try:
            for _ in range(RESETS // AT_ONCE):
                for _ in range(AT_ONCE):
                    connection.reset_stream(asked(connection, case, body))
                plain.sendall(connection.data_to_send())
        except ConnectionError:
            pass
        assert hung_up(plain)
    assert shared.statistic("http.aibridge.downstream_rq_too_many_premature_resets") == before + 1
    assert_serves(shared, script, f"{case}-after")
    eventually(lambda: not shared.rows(OPEN, case), "an end of all")
    assert len(provider.seen[case]) <= len(shared.sessions(case)) < RESETS


def flood(kind: str) -> Iterator[Frame]:
    """Frames that cost their sender next to nothing, the first of them perhaps in order."""
    match kind:
        case "pings":
            yield from (PingFrame(0, opaque_data=b"12345678") for _ in range(FLOOD))
        case "settings":
            yield from (SettingsFrame(0) for _ in range(FLOOD))
        case "priorities":
            yield from (PriorityFrame(2 * number + 1) for number in range(FLOOD))
        case "headers without an end":
            yield HeadersFrame(1, b"\x82\x87\x84")
            yield from (ContinuationFrame(1, b"\x00\x01a\x01b" * 100) for _ in range(FLOOD))
        case "bodies of nothing":
            yield HeadersFrame(1, b"\x83\x86\x84\x41\x01b", flags=["END_HEADERS"])
            yield from (DataFrame(1) for _ in range(FLOOD))


@pytest.mark.parametrize("kind", ["pings", "settings", "priorities", "headers without an end", "bodies of nothing"])
def test_who_sends_frames_without_end_is_hung_up_on(shared: Bridge, script: Script, case: str, kind: str) -> None:
    """CVE-2019-9511 and its kin, CVE-2024-30255. Nothing is read meanwhile, so that what is due for an answer waits."""
    with spoken(shared.port) as (plain, _):
        try:
            batch = b""
            for frame in flood(kind):
                batch += frame.serialize()
                if len(batch) > 65_536:
                    plain.sendall(batch)
                    batch = b""
            plain.sendall(batch)
        except ConnectionError:
            pass
        assert hung_up(plain)
    assert_serves(shared, script, f"{case}-after")
