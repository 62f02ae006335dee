"""Few bytes that become very many: requests are refused, responses pass as they came and are recorded as unread."""

import gzip
import zlib

import brotli  # type: ignore[import-untyped]  # ships no types
import pytest
import zstandard

from examples.answers import Answer
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, EVENT_STREAM
from tests.e2e.scripts import Script
from tests.hostile.attacked import MIB, RESPONSE_BYTES, forget_peak, peak

LARGE = 64 * MIB
CONTENT_TYPES = ("application/json", EVENT_STREAM)
# As a multiple of what is read of a response: what is decoded, what of it is kept, and their copies.
MUCH = 6


def filled(head: bytes, tail: bytes) -> bytes:
    return head + b" " * LARGE + tail


ASKING = filled(b'{"model":"m","input":"canary-content', b'"}')
ANSWERING = filled(b'{"id":"resp_1","x":"canary-content', b'"}')
CODINGS = {
    "gzip": lambda data: gzip.compress(data, 6),
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": zstandard.compress,
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data, 6)),
    "zstd, br": lambda data: brotli.compress(zstandard.compress(data)),
}


@pytest.mark.parametrize("coding", CODINGS)
def test_a_request_that_decodes_to_too_much_is_refused(
    attack: Bridge, provider: ThreadedProvider, case: str, coding: str
) -> None:
    (worker,) = attack.workers()
    forget_peak(worker)
    before = peak(worker)
    response = ask(attack.port, case, CODINGS[coding](ASKING), ("content-encoding", coding))
    assert (response.status, response.json()) == (413, {"code": "413", "message": "request body too large"})
    assert peak(worker) - before < MUCH * RESPONSE_BYTES
    assert case not in provider.seen
    assert attack.sessions(case) == []


@pytest.mark.parametrize(
    ("coding", "member"), [("gzip", gzip.compress(b"")), ("zstd", zstandard.compress(b""))], ids=["gzip", "zstd"]
)
def test_a_request_of_very_many_empty_members_is_refused(
    attack: Bridge, provider: ThreadedProvider, case: str, coding: str, member: bytes
) -> None:
    assert ask(attack.port, case, member * 20_000, ("content-encoding", coding)).status == 413
    assert case not in provider.seen


@pytest.mark.parametrize("kind", CONTENT_TYPES)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_response_that_decodes_to_too_much_passes_as_it_came_and_is_unread(
    attack: Bridge, script: Script, case: str, coding: str, kind: str
) -> None:
    body = CODINGS[coding](ANSWERING)
    script[case] = Answer(content_type=kind, body=body, headers=(("content-encoding", coding),))
    (worker,) = attack.workers()
    forget_peak(worker)
    before = peak(worker)
    response = ask(attack.port, case, ASKED)
    assert (response.status, response.body, response.first("content-encoding")) == (200, body, coding)
    assert attack.session(case).ended == ("failed", "unread", 200)
    assert peak(worker) - before < MUCH * RESPONSE_BYTES


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
@pytest.mark.parametrize("end", [-1, 30])
def test_a_response_that_is_cut_or_followed_by_more_passes_as_it_came(
    attack: Bridge, script: Script, case: str, coding: str, end: int
) -> None:
    body = CODINGS[coding](b'{"id":"resp_1","output":[]}' + bytes(range(256))) + b"\x1f\x8b more"
    script[case] = Answer(body=body[:end], headers=(("content-encoding", coding),))
    response = ask(attack.port, case, ASKED)
    assert (response.status, response.body) == (200, body[:end])
    assert attack.session(case).ended[2] == 200
