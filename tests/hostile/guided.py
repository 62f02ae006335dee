"""Fuzzing by atheris (libFuzzer), led by coverage: `python -m tests.hostile.guided -max_total_time=60`.

The first byte of an input chooses what reads the rest. Whatever a reader may raise is caught here; all else is a find.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris  # type: ignore[import-not-found]  # where it is installed

with atheris.instrument_imports(include=["sidecar", "tomllib"]):
    from sidecar import wire
    from sidecar.core import content, jsontext, mending, requests, sse
    from sidecar.core.errors import BadSetting, OutOfOrder
    from sidecar.core.events import Body, Headers, Recorded, Side
    from sidecar.core.interception import Interception
    from sidecar.core.phases import Phase
    from sidecar.core.policy import Bounds, Policy
    from sidecar.core.records import Ended, Started
    from sidecar.settings import load
    from tests.core.play import ID, OPENAI

LIMIT = 1 << 16
CODINGS = ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd, deflate"]
POLICY = Policy(
    providers={"openai": OPENAI}, bounds=Bounds(request_bytes=LIMIT, response_bytes=LIMIT, event_bytes=4096)
)
FILE = os.memfd_create("settings")
PAIRS = ((":method", "POST"), (":path", "/openai/v1/responses"), ("x-forwarded-user", "alice"))


def message(data: bytes) -> None:
    """One of Envoy's."""
    wire.chunk(data)
    with suppress(wire.Malformed, OutOfOrder):
        told = wire.parse(data)
        wire.acknowledged(told, duplex=frozenset(Side))
        wire.decode(told, 1.0)


def events(data: bytes) -> None:
    splitter = sse.Splitter(4096)
    half = len(data) // 2
    found = splitter.feed(data[:half]) + splitter.feed(data[half:])
    assert found == sse.Splitter(4096).feed(data)
    assert splitter.held <= LIMIT


def document(data: bytes) -> None:
    jsontext.lenient(data)
    with suppress(jsontext.NotJson, mending.TooComplex):
        jsontext.strict(data)
    with suppress(requests.Unreadable):
        requests.read(data, 1000)


def encoded(data: bytes) -> None:
    coding = CODINGS[data[0] % len(CODINGS)] if data else None
    decoder = content.Decoder(coding, LIMIT)
    assert len(decoder.feed(data[1:])) <= LIMIT
    with suppress(content.Undecodable, content.TooLarge):
        content.decoded(data[1:], coding, LIMIT)


def exchange(data: bytes) -> None:
    """A request that may name its coding, and a response."""
    head, _, body = data.partition(b"\0")
    label = head.decode("utf-8", "surrogateescape")
    interception = Interception(id=ID, policy=POLICY)
    interception.receive(Headers(side=Side.REQUEST, at=1.0, pairs=(*PAIRS, ("content-encoding", label))))
    if interception.phase is not Phase.REQUEST:
        return
    records = list(interception.receive(Body(side=Side.REQUEST, at=2.0, data=body, end=True)).records)
    if interception.phase is Phase.RECORDING:
        records += interception.receive(Recorded(at=3.0, durable=True)).records
    if interception.phase is Phase.FORWARDED:
        pairs = ((":status", "200"), ("content-type", label))
        for event in (
            Headers(side=Side.RESPONSE, at=4.0, pairs=pairs),
            Body(side=Side.RESPONSE, at=5.0, data=body, end=True),
        ):
            records += interception.receive(event).records
            interception.read()
    records += interception.close(6.0)
    kinds = [type(record) for record in records]
    assert kinds.count(Started) == kinds.count(Ended) <= 1


def settings(data: bytes) -> None:
    """A file of them, which is no file of the disk's."""
    os.ftruncate(FILE, 0)
    os.pwrite(FILE, data, 0)
    told = ""
    try:
        found = load(Path(f"/proc/self/fd/{FILE}"))
        found.policy()
        found.gate()
    except BadSetting as error:
        told = str(error)
    assert all(line.isprintable() for line in told.split("\n"))


TARGETS: list[Callable[[bytes], None]] = [message, events, document, encoded, exchange, settings]


def one_input(data: bytes) -> None:
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
