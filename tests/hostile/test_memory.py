"""What costs most, again and again: the worker keeps none of it, and its allocator little for later."""

import pytest

from examples.answers import Answer
from tests.e2e.bridges import Bridge
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED_STREAM, EVENT_STREAM
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually
from tests.hostile.attacked import MIB, memory
from tests.hostile.test_bombs import ANSWERING, ASKING, CODINGS
from tests.hostile.test_long_bodies import DEEP, padded

ROUNDS = 3
CHOSEN = ("gzip", "br", "zstd")
# As a multiple of what it had: the allocator keeps some MiB for each of a dozen threads, however often they need more.
ABOUT = 1.5


def round_of(running: Bridge, script: Script, bombs: dict[str, tuple[bytes, bytes]]) -> None:
    """Each of the costly bodies once, to either side."""
    for coding, (asking, answering) in bombs.items():
        assert ask(running.port, "bomb", asking, ("content-encoding", coding)).status == 413
        script["bomb"] = Answer(body=answering, headers=(("content-encoding", coding),))
        assert ask(running.port, "bomb", ASKED_STREAM).body == answering
    script["long"] = Answer(content_type=EVENT_STREAM, body=b"".join(padded("long", 10 * MIB)))
    assert ask(running.port, "long", ASKED_STREAM).status == 200
    script["endless"] = Answer(content_type=EVENT_STREAM, body=(b"data: ", *[b"x" * MIB] * 32))
    assert ask(running.port, "endless", ASKED_STREAM).status == 200
    assert ask(running.port, "deep", b'{"input":' + b"[" * DEEP).status == 400


@pytest.fixture(scope="module")
def bombs() -> dict[str, tuple[bytes, bytes]]:
    return {name: (CODINGS[name](ASKING), CODINGS[name](ANSWERING)) for name in CHOSEN}


def test_memory_is_given_back_however_often_it_is_tried(
    attack: Bridge, script: Script, bombs: dict[str, tuple[bytes, bytes]]
) -> None:
    (worker,) = attack.workers()
    before = memory(worker)
    for _ in range(ROUNDS):
        round_of(attack, script, bombs)
    eventually(lambda: memory(worker) < ABOUT * before, "memory given back")
