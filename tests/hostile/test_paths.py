"""Paths in every odd spelling: what reaches a provider is what was recorded, at the provider that was recorded."""

import re
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import Connection, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.recorded import Row
from tests.e2e.scripts import Script

PIECES = [
    "/", "//", "/.", "/..", "/./", "/../", "%2e%2e", "%2E", "%2f", "%2F", "%5c", "\\", "%25", "%252f", "%252e%252e",
    ";", ";a=b", "%3b", "%00", "%0d%0a", "%0a", "?", "%3f", "#", "%23", "@", ":", "~", "+", "%20", "*",
    "%c0%af", "%c0%ae", "%u002f", "openai", "other", "v1", "a", "b", "responses", "models", "conversations", "healthz",
    "OPENAI", "compact", "\xe9",
]  # fmt: skip
WAYS = [
    "/openai/v1/responses", "/other/v1/responses", "/openai/v1/models", "http://elsewhere.example/openai/v1/responses",
    "https://user@127.0.0.1:1/other/v1/responses", "//elsewhere.example/openai/v1/responses", "*",
    "openai/v1/responses",
]  # fmt: skip
UPSTREAM = {"openai": "/v1/", "other": "/a/b/"}
PASSED = re.compile(r"(models|responses|conversations)(/[^/?]+){0,3}")


def asked(running: Bridge, case: str, path: bytes, method: str = "POST") -> int:
    """The status; 0 where the connection ended instead."""
    head = request(case, ASKED, ("connection", "close"), method=method, path="PATH").replace(b"PATH", path, 1)
    with Connection(running.port) as connection, suppress(EOFError, ConnectionError):
        connection.send(head)
        return connection.head().status
    return 0


def recordings(running: Bridge, case: str) -> list[Row]:
    sql = "SELECT provider_name, request_path FROM interceptions WHERE client_session_id = ? ORDER BY id"
    return running.rows(sql, case)


def reached(running: Bridge, provider: ThreadedProvider, case: str, path: bytes, method: str = "POST") -> bool:
    """Whether a provider saw it; if so it was for what is recorded, and where that is."""
    before, had = len(provider.seen[case]), len(recordings(running, case))
    status = asked(running, case, path, method)
    seen, recorded = provider.seen[case][before:], recordings(running, case)[had:]
    assert status in ({200} if seen else {0, 400, 403, 404, 405, 414, 426, 431})
    for one in seen:
        (name,) = (name for name, base in UPSTREAM.items() if one.target.startswith(base))
        rest = one.path.removeprefix(UPSTREAM[name])
        if method == "POST" and rest in {"responses", "responses/compact"}:
            assert recorded == [{"provider_name": name, "request_path": f"/{name}/v1/{rest}"}]
        else:
            assert PASSED.fullmatch(rest)
            assert recorded == []
    assert len(recorded) <= len(seen) <= 1
    return bool(seen)


@pytest.fixture(scope="module")
def here(victim: Bridge, script: Script) -> Bridge:
    script["paths"] = whole("paths")
    return victim


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    way=st.sampled_from(WAYS),
    edits=st.lists(st.tuples(st.integers(0, 60), st.sampled_from(PIECES)), max_size=4),
    method=st.sampled_from(["POST", "POST", "POST", "GET", "DELETE"]),
)
@example(way="/openai/v1/../../other/v1/responses", edits=[], method="POST")
@example(way="/openai/v1/responses/../../../a/b/responses", edits=[], method="POST")
@example(way="/openai/v1/responses;/../models", edits=[], method="POST")
@example(way="/openai/v1/responses?/../../other/v1/responses", edits=[], method="POST")
@example(way="/openai/v1/responses#/../../other/v1/responses", edits=[], method="POST")
@example(way="/openai/v1/models/..%2fresponses", edits=[], method="GET")
@example(way="/openai/v1/models/%2e%2e/responses", edits=[], method="POST")
@example(way="/openai/v1/conversations/a/items/../../../responses", edits=[], method="POST")
def test_no_spelling_of_a_path_leads_elsewhere_or_past_the_record(
    here: Bridge, provider: ThreadedProvider, way: str, edits: list[tuple[int, str]], method: str
) -> None:
    for place, piece in edits:
        at = place % (len(way) + 1)
        way = way[:at] + piece + way[at:]
    reached(here, provider, "paths", way.replace(" ", "").encode("latin-1"), method)


@pytest.mark.parametrize("byte", [b"\0", b"\t", b"\r", b"\n", b"\x0b", b"\x7f", b"\x80", b"\xff", b" "], ids=repr)
def test_a_path_with_a_byte_that_belongs_in_none_goes_nowhere(
    attack: Bridge, provider: ThreadedProvider, case: str, byte: bytes
) -> None:
    assert not reached(attack, provider, case, b"/openai/v1/" + byte + b"responses")
    assert not reached(attack, provider, case, b"/openai/v1/responses" + byte + b"/x")


@pytest.mark.parametrize("piece", [b"/x", b"/..", b"/./", b"%2e%2e/", b"//", b";a", b"%2f"], ids=repr)
@pytest.mark.parametrize("size", [10_000, 100_000])
def test_a_very_long_path_goes_nowhere(
    attack: Bridge, provider: ThreadedProvider, case: str, piece: bytes, size: int
) -> None:
    path = b"/openai/v1" + piece * (size // len(piece)) + b"/x"
    assert not reached(attack, provider, case, path)


def test_a_very_long_query_goes_along_and_into_no_log(
    attack: Bridge, provider: ThreadedProvider, script: Script, case: str
) -> None:
    script[case] = whole(case)
    query = b"canary-content" * 4000
    assert reached(attack, provider, case, b"/openai/v1/responses?" + query)
    (seen,) = provider.seen[case]
    assert seen.target == f"/v1/responses?{query.decode()}"
