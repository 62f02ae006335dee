"""What failed is forgotten at once: nothing waits for the garbage collector, which in a quiet worker comes late."""

import gc
import tracemalloc

import pytest
from grpc import StatusCode

from tests.core.play import CODINGS
from tests.hostile.serving import BOUNDS, Serving
from tests.hostile.test_fuzz_bodies import BOMBS, answering, asking

LONG = b'{"model":"m","input":"%s"' % (b"x" * (BOUNDS.request_bytes - 100))
REQUESTS = {
    "cut": (None, LONG),
    "deep": (None, b'{"input":' + b"[" * (BOUNDS.request_bytes - 100)),
    "no UTF-8": (None, LONG + b'\xff"}'),
    "twice": (None, LONG + b',"model":"m"}'),
    "followed by more": ("gzip", CODINGS["gzip"](LONG + b"}") + b"more"),
    "no coding": ("x", LONG + b"}"),
    **{f"bomb, {label}": (label, bomb) for label, bomb in BOMBS.items()},
}
RESPONSES = {
    "cut": (None, LONG),
    "corrupt": ("gzip", CODINGS["gzip"](LONG)[:-9] + b"x" * 9),
    **{f"bomb, {label}": (label, bomb) for label, bomb in BOMBS.items()},
}
TIMES = 6


def left(serves: Serving, *messages: bytes) -> int:
    """The bytes that Python still has of as many such streams, and had not before."""
    serves.play(*messages)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(TIMES):
            assert serves.play(*messages).code is StatusCode.OK
        assert serves.left() == (0, 0, 0)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_refused_request_leaves_nothing(serves: Serving, kind: str) -> None:
    label, body = REQUESTS[kind]
    assert left(serves, *asking(body, label)) < BOUNDS.request_bytes


@pytest.mark.parametrize("kind", RESPONSES)
def test_an_unread_response_leaves_nothing(serves: Serving, kind: str) -> None:
    label, body = RESPONSES[kind]
    assert left(serves, *asking(b'{"model":"m"}'), *answering([body], label)) < BOUNDS.response_bytes
