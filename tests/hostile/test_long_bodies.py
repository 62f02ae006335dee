"""Bodies in the smallest pieces, and bodies without an end to anything: served, and read as far as the bounds allow."""

import pytest

from examples.answers import Answer, pieces
from examples.events import sse
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import ask, asking
from tests.e2e.exchanges import ASKED, ASKED_STREAM, EVENT_STREAM, PROMPT, final, streamed
from tests.e2e.scripts import Script
from tests.hostile.attacked import MIB, RESPONSE_BYTES, forget_peak, peak

ENDLESS = 192 * MIB
DEEP = 100_000
# As a multiple of what is read of a response; what passes unread is not kept.
MUCH = 8


def single_bytes(data: bytes) -> bytes:
    """As a client would chunk it who means to tire."""
    return b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n"


def padded(case: str, size: int) -> tuple[bytes, bytes]:
    """A stream of two events, the second `size` bytes long with all that is read in it."""
    head = {"type": "response.created", "response": {"id": f"resp_{case}"}}
    last = {"type": "response.completed", "response": {**final(case), "instructions": "x" * size}}
    return sse(head), sse(last)


def test_a_request_in_single_bytes_is_one_request(
    attack: Bridge, provider: ThreadedProvider, script: Script, case: str
) -> None:
    script[case] = streamed(case)
    chunked = ("transfer-encoding", "chunked")
    assert ask(attack.port, case, single_bytes(ASKED_STREAM + b" " * 20_000), chunked).status == 200
    (seen,) = provider.seen[case]
    assert seen.body == ASKED_STREAM + b" " * 20_000
    assert attack.session(case).asked == [(f"resp_{case}", PROMPT)]


def test_a_response_in_single_bytes_is_read_like_any(attack: Bridge, script: Script, case: str) -> None:
    body = b"".join(padded(case, 2000))
    script[case] = Answer(content_type=EVENT_STREAM, body=pieces(body, 1))
    assert ask(attack.port, case, ASKED_STREAM).body == body
    recorded = attack.session(case)
    assert recorded.ended == ("completed", None, 200)
    assert [row["output_tokens"] for row in recorded.tokens] == [3]


@pytest.mark.parametrize(
    ("size", "end"), [(6 * MIB, ("completed", None, 200)), (10 * MIB, ("failed", "unread", 200))], ids=["6", "10"]
)
def test_one_event_of_many_mebibytes_passes_and_is_read_up_to_the_bound(
    attack: Bridge, script: Script, case: str, size: int, end: tuple[str, str | None, int]
) -> None:
    body = b"".join(padded(case, size))
    script[case] = Answer(content_type=EVENT_STREAM, body=pieces(body, MIB))
    (worker,) = attack.workers()
    forget_peak(worker)
    before = peak(worker)
    response = ask(attack.port, case, ASKED_STREAM)
    assert response.body == body
    assert attack.ending(case).ended == end
    assert peak(worker) - before < MUCH * RESPONSE_BYTES


@pytest.mark.parametrize("head", [b"data: ", b":", b'{"id":"resp_1","x":"'], ids=["event", "comment", "json"])
def test_a_stream_without_an_end_to_anything_passes_and_takes_no_memory(
    attack: Bridge, script: Script, provider: ThreadedProvider, case: str, head: bytes
) -> None:
    """The provider never comes to an end, not even of a line; the client leaves when it has seen enough."""
    body = (head, *[b"x" * MIB] * (ENDLESS // MIB))
    script[case] = Answer(content_type="application/octet-stream", body=(*body, b"x"), hold=len(body))
    everybody = (attack.envoy(), *attack.workers())
    for pid in everybody:
        forget_peak(pid)
    before = [peak(pid) for pid in everybody]
    with asking(attack.port, case, ASKED_STREAM) as connection:
        connection.head()
        got = 0
        for chunk in connection.chunks():
            got += len(chunk)
            if got == len(head) + ENDLESS:
                break
        connection.reset()
    provider.departure(case)
    assert attack.ending(case).ended[::2] == ("failed", 200)
    for pid, had in zip(everybody, before, strict=True):
        assert peak(pid) - had < MUCH * RESPONSE_BYTES


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["arrays", "objects"])
@pytest.mark.parametrize("member", [b"input", b"x"])
def test_a_request_nested_very_deeply_is_refused(
    attack: Bridge, provider: ThreadedProvider, case: str, member: bytes, opening: bytes
) -> None:
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    body = b'{"model":"m","%s":%s0%s}' % (member, opening * DEEP, closing * DEEP)
    response = ask(attack.port, case, body)
    assert (response.status, response.json()) == (400, {"code": "400", "message": "the body is nested too deeply"})
    assert case not in provider.seen


@pytest.mark.parametrize("where", ["document", "event", "arguments"])
def test_a_response_nested_very_deeply_passes(attack: Bridge, script: Script, case: str, where: str) -> None:
    deep = b"[" * DEEP + b"]" * DEEP
    body, kind = {
        "document": (b'{"id":"resp_1","output":%s}' % deep, "application/json"),
        "event": (b'data: {"type":"response.completed","response":{"output":%s}}\n\n' % deep, EVENT_STREAM),
        "arguments": (
            b'{"id":"resp_1","output":[{"type":"function_call","name":"f","arguments":"%s"}]}' % deep,
            "application/json",
        ),
    }[where]
    script[case] = Answer(content_type=kind, body=body)
    response = ask(attack.port, case, ASKED)
    assert (response.status, response.body) == (200, body)
    recorded = attack.session(case)
    assert recorded.interception["ended_at"]
    if where == "arguments":
        assert [row["tool"] for row in recorded.tools] == ["f"]
    else:
        assert recorded.ended == ("failed", "unread", 200)
