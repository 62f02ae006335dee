"""What failed is forgotten at once: nothing waits for the garbage collector, which in a quiet worker comes late."""

import gc
import tracemalloc

import pytest
from grpc import StatusCode

from tests.core.play import CODINGS
from tests.e2e.waiting import eventually
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


def leaves_less(serves: Serving, most: int, *messages: bytes) -> None:
    """Have such streams, and Python soon has less than `most` bytes of them: a call of grpc outlives its stream."""
    serves.play(*messages)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(TIMES):
            assert serves.play(*messages).code is StatusCode.OK
        assert serves.left() == (0, 0, 0)
        eventually(lambda: tracemalloc.get_traced_memory()[0] < most, f"less than {most} bytes left of {TIMES} streams")
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_refused_request_leaves_nothing(serves: Serving, kind: str) -> None:
    label, body = REQUESTS[kind]
    leaves_less(serves, BOUNDS.request_bytes, *asking(body, label))


@pytest.mark.parametrize("kind", RESPONSES)
def test_an_unread_response_leaves_nothing(serves: Serving, kind: str) -> None:
    label, body = RESPONSES[kind]
    leaves_less(serves, BOUNDS.response_bytes, *asking(b'{"model":"m"}'), *answering([body], label))
