"""More than there is room for: what is too much is refused at once and cleanly, what has its place is served."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from select import select
from socket import socket

import pytest
from h2.connection import H2Connection
from h2.events import StreamEnded, StreamReset

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import Connection, Response, ask, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE, eventually
from tests.hostile.attacked import forget_peak, memory, peak
from tests.hostile.envoys import Fields, cluster, monitors, routes, second
from tests.hostile.http2 import pairs, spoken

SIZE = 50_000  # bytes of a request
TAKES = 0.05  # seconds for an answer
PLACES = 4  # for so many of them
CLIENTS = 40
HEAP = 64_000_000  # bytes that an Envoy may have
UPLOAD = 2_000_000  # bytes that one client sends without saying that this is all
FLOOD, PIECES, PIECE = 90, 12, 250_000  # requests that are let in, and what each then sends, in bytes: 270 MB in all
LOOK = 0.3  # seconds in which Envoy looks once how much it has
BODY = ASKED[:-2] + b" " * (SIZE - len(ASKED)) + ASKED[-2:]
UNREACHABLE = {"code": "503", "message": "the provider could not be reached, or hung up before it answered"}
TOO_MUCH = {"code": "503", "message": "too much to do, try again soon"}
NO_VERDICT = {"code": "500", "message": "the sidecar gave no verdict on this request"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    limits = {"max_request_bytes": SIZE, "max_inflight_bytes": PLACES * SIZE}
    with bridge(tmp_path_factory.mktemp("small"), provider.url, limits=limits) as running:
        yield running
        assert running.stop() == 0


def assert_serves(running: Bridge, script: Script, case: str, body: bytes = ASKED) -> None:
    script[case] = whole(case)
    assert ask(running.port, case, body).body == whole(case).body
    assert running.session(case).ended == ("completed", None, 200)


def little(config: Fields) -> None:
    """Let Envoy have little, and a request all of it."""
    heaps = monitors(config, "max_heap_size_bytes")
    least = min(int(each["max_heap_size_bytes"]) for each in heaps)
    for each in heaps:
        each["max_heap_size_bytes"] = int(each["max_heap_size_bytes"]) * HEAP // least
    for route in routes(config):
        if "route" in route:
            route["request_body_buffer_limit"] = HEAP


def assert_refused(response: Response, told: dict[str, str]) -> None:
    assert (response.status, response.json()) == (int(told["code"]), told)
    assert response.first("content-type") == "application/json"


def test_bodies_for_which_there_is_no_room_are_refused_before_they_have_come(
    small: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """The rest is served, byte for byte, and their places are free at once."""
    names = [f"{case}-{number}" for number in range(CLIENTS)]
    with ExitStack() as stack:
        connections = {name: stack.enter_context(Connection(small.port)) for name in names}
        before = small.heard()
        for number, (name, connection) in enumerate(connections.items(), 1):
            script[name] = whole(name)
            connection.send(request(name, BODY[:-1], ("content-length", str(SIZE))))
            eventually(lambda number=number: small.heard() >= before + number, "the worker's answer to the headers")
        for name in names[PLACES:]:
            assert_refused(connections[name].response(), TOO_MUCH)
        for name in names[:PLACES]:
            connections[name].send(BODY[-1:])
            assert connections[name].response().body == whole(name).body
    assert_serves(small, script, f"{case}-after", BODY)
    assert [len(provider.seen[name]) for name in names] == [1] * PLACES + [0] * (CLIENTS - PLACES)
    for name in names[:PLACES]:
        assert small.session(name).ended == ("completed", None, 200)
    assert not small.rows("SELECT * FROM interceptions WHERE ended_at IS NULL")


def test_of_a_crowd_each_is_served_or_refused_and_nobody_is_forgotten(
    small: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """All at once, ten times as many as there are places for, and each for as long as it takes to answer it."""
    names = [f"{case}-{number}" for number in range(CLIENTS)]
    for name in names:
        script[name] = whole(name, hang=TAKES)
    with ThreadPoolExecutor(CLIENTS) as crowd:
        responses = dict(zip(names, crowd.map(lambda name: ask(small.port, name, BODY), names), strict=True))
    served = [name for name in names if responses[name].status == 200]
    assert [name for name in served if responses[name].body != whole(name).body] == []
    assert [name for name in names if provider.seen[name]] == served
    assert {small.session(name).ended for name in served} == {("completed", None, 200)}
    for name in set(names) - set(served):
        assert responses[name].first("retry-after") == "1"
        assert_refused(responses[name], TOO_MUCH)
    assert_serves(small, script, f"{case}-after", BODY)


def test_a_place_whose_client_leaves_is_free_at_once(small: Bridge, script: Script, case: str) -> None:
    with ExitStack() as stack:
        before = small.heard()
        for _ in range(PLACES):
            stack.enter_context(Connection(small.port)).send(request(case, BODY[:-1], ("content-length", str(SIZE))))
        eventually(lambda: small.heard() >= before + PLACES, "the worker's answers to the headers")
        assert ask(small.port, case, BODY).status == 503
    eventually(lambda: ask(small.port, case, b"no JSON".ljust(SIZE)).status == 400, "a free place")
    assert_serves(small, script, f"{case}-after", BODY)


def test_connections_beyond_the_limit_are_closed_and_the_next_has_its_place_again(
    small: Bridge, script: Script, case: str
) -> None:
    """Envoy's overload manager: 50,000 of them by our bootstrap."""

    def few(config: Fields) -> None:
        (active,) = monitors(config, "max_active_downstream_connections")
        active["max_active_downstream_connections"] = PLACES

    with second(small, few) as limited, ExitStack() as stack:
        within = []
        while len(within) < PLACES:
            connection = stack.enter_context(Connection(limited.port))
            connection.send(request(case, method="GET", path="/healthz"))
            with suppress(EOFError, ConnectionError):  # the last one before may not be gone yet
                assert connection.response().status == 200
                within.append(connection)
        for _ in range(CLIENTS):
            with Connection(limited.port) as beyond:
                assert beyond.ended()
        for number, connection in enumerate(within):
            name = f"{case}-{number}"
            script[name] = whole(name)
            connection.send(request(name, ASKED))
            assert connection.response().body == whole(name).body
        stack.close()
        eventually(lambda: limited.health() == 200, "a place")


def test_uploads_that_tell_no_length_fill_no_more_than_envoy_may_have(
    small: Bridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """The sidecar counts them when they are whole, so Envoy's own bound counts until then."""

    def lasting(config: Fields) -> None:
        little(config)
        del config["overload_manager"]["loadshed_points"]  # which make room again

    script[case] = whole(case)
    with second(small, lasting) as limited, ExitStack() as stack:
        for _ in range(HEAP // UPLOAD):
            connection = stack.enter_context(Connection(limited.port))
            connection.send(request(case, b"%x\r\n" % UPLOAD + b" " * UPLOAD, ("transfer-encoding", "chunked")))
        eventually(lambda: ask(limited.port, "", method="GET", path="/healthz").status == 503, "too much")
        assert_refused(ask(limited.port, f"{case}-beyond", ASKED), TOO_MUCH)
        assert_serves(small, script, f"{case}-elsewhere")
        stack.close()
        eventually(lambda: limited.health() == 200, "room")
        assert_serves(limited, script, f"{case}-after")
    assert not {case, f"{case}-beyond"} & set(provider.seen)
    assert small.sessions(case) == []


def test_clients_that_are_heard_no_more_are_told_what_all_are(small: Bridge, case: str) -> None:
    """By itself Envoy would say 500, at /healthz too."""

    def deaf(config: Fields) -> None:
        little(config)
        (point,) = config["overload_manager"]["loadshed_points"]
        point["triggers"][0]["threshold"]["value"] = 0.8  # before anything else is refused

    with second(small, deaf) as limited, ExitStack() as stack:
        for _ in range(HEAP // UPLOAD):
            connection = stack.enter_context(Connection(limited.port))
            with suppress(OSError):  # it was cut
                connection.send(request(case, b"%x\r\n" % UPLOAD + b" " * UPLOAD, ("transfer-encoding", "chunked")))
        eventually(lambda: limited.health() != 200, "too much")
        assert limited.health() == 503
        assert_refused(ask(limited.port, case, ASKED), TOO_MUCH)


def over_http1(port: int, begun: Callable[[], None], sent: Callable[[], None]) -> None:
    """Send a flood on as many connections."""
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(port)) for _ in range(FLOOD)]
        for connection in connections:
            connection.send(request("flood", b"1\r\n{\r\n", ("transfer-encoding", "chunked")))
        begun()
        for _ in range(PIECES):
            for connection in connections:
                with suppress(OSError):  # it was cut
                    connection.send(b"%x\r\n%s\r\n" % (PIECE, b" " * PIECE))
            time.sleep(LOOK)
        sent()


def over_http2(port: int, begun: Callable[[], None], sent: Callable[[], None]) -> None:
    """The same on one connection."""
    with spoken(port) as (plain, connection):
        there = {2 * number + 1 for number in range(FLOOD)}
        for stream in there:
            connection.send_headers(stream, pairs("flood"))
            connection.send_data(stream, b"{")
        plain.sendall(connection.data_to_send())
        begun()
        for _ in range(PIECES):
            left, since = dict.fromkeys(there, PIECE), time.monotonic()
            while left:
                assert time.monotonic() - since < PATIENCE, "neither taken nor reset"
                for stream in left:
                    sizes = connection.local_flow_control_window(stream), connection.max_outbound_frame_size
                    if size := min(*sizes, left[stream]):
                        connection.send_data(stream, b" " * size)
                        left[stream] -= size
                plain.sendall(connection.data_to_send())
                there -= gone(plain, connection, 0.01)
                left = {stream: size for stream, size in left.items() if size and stream in there}
            there -= gone(plain, connection, LOOK)
        sent()


def gone(plain: socket, connection: H2Connection, patience: float) -> set[int]:
    """The streams of whose end is told until nothing more is for so many seconds."""
    found = set()
    while select([plain], [], [], patience)[0]:
        data = plain.recv(PIECE)
        assert data, "the whole connection was closed"
        over = (event for event in connection.receive_data(data) if isinstance(event, StreamReset | StreamEnded))
        found |= {event.stream_id for event in over}
    return found


@pytest.mark.parametrize("flood", [over_http1, over_http2])
def test_requests_that_grow_once_they_are_let_in_take_no_more_either(
    small: Bridge, script: Script, case: str, flood: Callable[..., None]
) -> None:
    """What is refused at the door is new; these were in while there was room, and each is as large as it may be."""
    with second(small, little) as limited:
        at_first = memory(limited.process.pid)

        def there() -> int:
            return limited.statistic("http.aibridge.downstream_rq_active")

        def begun() -> None:
            eventually(lambda: there() >= FLOOD, "all of them begun")
            forget_peak(limited.process.pid)

        flood(limited.port, begun, lambda: eventually(lambda: there() < FLOOD // 2, "most of them cut"))
        assert peak(limited.process.pid) - at_first < FLOOD * PIECES * PIECE // 2
        eventually(lambda: limited.health() == 200, "room")
        assert_serves(limited, script, f"{case}-after")


@pytest.mark.parametrize(
    ("name", "limits", "told"),
    [
        ("provider-openai", {"max_requests": 2}, UNREACHABLE),
        ("sidecar", {"max_requests": 1}, NO_VERDICT),
    ],
)
def test_what_a_circuit_breaker_stops_is_refused_at_once(  # noqa: PLR0913, PLR0917 - fixtures
    small: Bridge,
    script: Script,
    provider: ThreadedProvider,
    case: str,
    name: str,
    limits: dict[str, int],
    told: dict[str, str],
) -> None:
    """100,000 by our bootstrap, so that none is reached before other bounds are."""

    def low(config: Fields) -> None:
        (threshold,) = cluster(config, name)["circuit_breakers"]["thresholds"]
        threshold.update(limits)

    places = sum(limits.values())
    with second(small, low) as limited, ExitStack() as stack:
        held = [f"{case}-{number}" for number in range(places)]
        script[case] = whole(case)
        waiting = {}
        for one in held:
            script[one] = whole(one, hold=-1)
            waiting[one] = stack.enter_context(Connection(limited.port))
            waiting[one].send(request(one, ASKED))
            eventually(lambda one=one: small.sessions(one), "its start")
        provider.arrival(held[0])
        assert_refused(ask(limited.port, case, ASKED), told)
        assert case not in provider.seen
        for one in held:
            provider.release(one)
            assert waiting[one].response().body == whole(one).body
        assert_serves(limited, script, f"{case}-after")
    for one in held:
        assert small.session(one).ended == ("completed", None, 200)
    assert not small.rows("SELECT * FROM interceptions WHERE ended_at IS NULL")
