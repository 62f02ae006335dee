"""More than there is room for: what is too much is refused at once and cleanly, what has its place is served."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import Connection, Response, ask, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually
from tests.hostile.envoys import Fields, cluster, monitor, routes, second

SIZE = 50_000  # bytes of a request
TAKES = 0.05  # seconds for an answer
PLACES = 4  # for so many of them
CLIENTS = 40
HEAP = 64_000_000  # bytes that an Envoy may have
UPLOAD = 2_000_000  # bytes that one client sends without saying that this is all
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
        monitor(config, "max_active_downstream_connections", PLACES)

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

    def little(config: Fields) -> None:
        monitor(config, "max_heap_size_bytes", HEAP)
        for route in routes(config):
            if "route" in route:
                route["request_body_buffer_limit"] = HEAP

    script[case] = whole(case)
    with second(small, little) as limited, ExitStack() as stack:
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
