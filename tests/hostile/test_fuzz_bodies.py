"""Damaged bodies through the real gRPC server: JSON, event streams, and both compressed, cut, joined and corrupted."""

import json
import tracemalloc
from collections.abc import Sequence

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingResponse
from grpc import StatusCode
from hypothesis import example, given
from hypothesis import strategies as st

from tests.contract import peer
from tests.core.play import CODINGS, cut
from tests.hostile.damage import EDITS, FEW, HALF, Edit, damaged
from tests.hostile.serving import BOUNDS, Serving

CALL = {"type": "function_call", "name": "f", "call_id": "c", "arguments": '{"a":[1,{"b":"\\u00e9"}]}'}
DONE = {"id": "resp_1", "model": "m", "status": "completed", "usage": {"input_tokens": 7}, "output": [CALL] * 3}
REQUESTS = [
    {"model": "m", "input": "hi", "stream": True},
    {"model": ["m"], "metadata": {"user_id": "u_session_1"}, "input": [{"role": "user", "content": "hi"}]},
    {"input": [{"role": "user", "content": [{"type": "input_text", "text": "\ud83d\ude00"}]}], "background": 0},
]
ANSWERS = [
    json.dumps(DONE).encode(),
    b"".join(
        b"data: %s\n\n" % json.dumps(event).encode()
        for event in (
            {"type": "response.created", "response": {"id": "resp_1"}},
            {"type": "response.output_item.done", "item": CALL},
            {"type": "response.completed", "response": DONE},
        )
    ),
]
NAMES = st.sampled_from([name for name in CODINGS if name])
LABELS = st.none() | NAMES | st.lists(NAMES, min_size=2, max_size=4).map(", ".join)
BODIES = st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=3)
PLACES = st.lists(st.integers(0, 5000), max_size=4)
REFUSED = {400, 413, 415, 501}


def encoded(body: bytes, label: str | None) -> bytes:
    for name in (label or "").split(", "):
        body = bytes(CODINGS.get(name, bytes)(body))
    return body


def labelled(label: str | None) -> peer.Pairs:
    return () if label is None else (("content-encoding", label),)


def asking(body: bytes, label: str | None = None) -> list[bytes]:
    messages = (peer.request_headers(peer.POST, *labelled(label)), peer.request_body(body))
    return [message.SerializeToString() for message in messages]


def answering(chunks: Sequence[bytes], label: str | None, pairs: peer.Pairs = peer.EVENTS) -> list[bytes]:
    bodies = (peer.response_body(chunk) for chunk in chunks)
    messages = (peer.response_headers(pairs, *labelled(label)), *bodies, peer.response_body(b"", end=True))
    return [message.SerializeToString() for message in messages]


def verdict(reply: bytes) -> int:
    """The status of a refusal; 0 where it lets the request through."""
    return ProcessingResponse.FromString(reply).immediate_response.status.code


@HALF
@given(request=st.sampled_from(REQUESTS), label=LABELS, edits=EDITS, also=st.binary(max_size=40))
@example(request=REQUESTS[0], label=None, edits=[(10, "put", b"[" * 100_000)], also=b"")
@example(request=REQUESTS[0], label="gzip, gzip, gzip, gzip", edits=[], also=b"")
def test_a_damaged_request_is_let_through_or_refused_and_nothing_else(
    serves: Serving, request: object, label: str | None, edits: list[Edit], also: bytes
) -> None:
    body = damaged(encoded(json.dumps(request).encode(), label), edits) + also
    heard = serves.play(*asking(body, label))
    assert heard.code is StatusCode.OK
    assert serves.left() == (0, 0, 0)
    first, second = heard.replies
    assert verdict(first) == 0
    assert verdict(second) in {0, *REFUSED}


@HALF
@given(bodies=BODIES, label=LABELS, edits=EDITS, places=PLACES, pairs=st.sampled_from([peer.EVENTS, peer.OK]))
@example(bodies=ANSWERS[:1], label=None, edits=[(10, "put", b"[" * 100_000)], places=[], pairs=peer.OK)
def test_a_damaged_response_passes_and_its_interception_ends(  # noqa: PLR0913, PLR0917 - what hypothesis draws
    serves: Serving, bodies: list[bytes], label: str | None, edits: list[Edit], places: list[int], pairs: peer.Pairs
) -> None:
    """Several bodies are several members of one coding; a cut one lacks its end."""
    body = damaged(b"".join(encoded(one, label) for one in bodies), edits)
    told = answering(cut(body, places), label, pairs)
    before = len(serves.worker.ends())
    heard = serves.play(*asking(b'{"model":"m","input":"hi"}'), *told)
    assert heard.code is StatusCode.OK
    assert heard.kinds()[2:] == ["response_headers", *["response_body"] * (len(told) - 1)]
    assert serves.left() == (0, 0, 0)
    [(status, error, http_status)] = serves.worker.ends()[before:]
    assert (status, http_status) == ("failed" if error else "completed", 200)


BOMBS = {name: encoded(bytes(64 << 20), name) for name in ("gzip", "deflate", "br", "zstd")}
BOMBS["gzip, gzip"] = encoded(BOMBS["gzip"], "gzip")
# Python's own, as a multiple of what may be read: the decoded bytes, their copies on the way, and the messages.
MUCH = 12


@FEW
@given(edits=EDITS, places=PLACES)
@pytest.mark.parametrize("label", BOMBS)
def test_a_damaged_bomb_takes_no_more_memory_than_may_be_read(
    serves: Serving, label: str, edits: list[Edit], places: list[int]
) -> None:
    """64 MiB of zeros on either side, where one may be read."""
    bomb = damaged(BOMBS[label], edits)
    messages = (*asking(bomb, label), *asking(b'{"model":"m"}'), *answering(cut(bomb, places), label))
    tracemalloc.start()
    try:
        assert serves.play(*messages[:2]).code is StatusCode.OK
        assert serves.play(*messages[2:]).code is StatusCode.OK
        assert tracemalloc.get_traced_memory()[1] < MUCH * BOUNDS.response_bytes
    finally:
        tracemalloc.stop()
    assert serves.left() == (0, 0, 0)
