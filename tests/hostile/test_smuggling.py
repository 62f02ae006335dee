"""Requests whose end two readers could see at two places: none carries a second one past Envoy to the provider."""

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import Connection, Response, ask, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script

CHUNKED = ("transfer-encoding", "chunked")
# How the length is told, beside what the body is; Envoy must not choose.
AMBIGUOUS = {
    "a length and chunks": (("content-length", "5"), CHUNKED),
    "chunks and a length": (CHUNKED, ("content-length", "5")),
    "two lengths": (("content-length", "5"), ("content-length", "6")),
    "two lengths in one": (("content-length", "5, 6"),),
    "a signed length": (("content-length", "+5"),),
    "a length in hex": (("content-length", "0x5"),),
    "no number": (("content-length", "five"),),
    "a coding nobody knows": (("transfer-encoding", "xchunked"),),
    "chunks, then no coding": (CHUNKED, ("transfer-encoding", "identity")),
    "a space before the colon": (("content-length", "5"), ("transfer-encoding ", "chunked")),
    "a vertical tab": (("transfer-encoding", "\x0bchunked"),),
    "a folded line": (("content-length", "5"), ("x-folded", "a\r\n transfer-encoding: chunked")),
    "a bare line feed": (("content-length", "5"), ("x-lf", "a\ntransfer-encoding: chunked")),
    "a bare carriage return": (("content-length", "5"), ("x-cr", "a\rtransfer-encoding: chunked")),
    "a NUL": (("content-length", "5"), ("x-nul", "a\0b")),
}

UNKNOWN = ("a coding nobody knows", "chunks, then no coding")


def hidden(case: str) -> bytes:
    """A request that nobody may take for one."""
    return request(f"{case}-hidden", ASKED)


def answers(port: int, data: bytes) -> list[Response]:
    """All that comes until the other side hangs up."""
    responses = []
    with Connection(port) as connection:
        connection.send(data)
        try:
            while True:
                responses.append(connection.response())
        except (EOFError, ConnectionError):
            return responses


def served(port: int, provider: ThreadedProvider, script: Script, case: str) -> bool:
    """Whether an ordinary request is, after all that."""
    script[case] = whole(case)
    return ask(port, case, ASKED).body == whole(case).body and len(provider.seen[case]) == 1


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_who_tells_a_length_in_two_ways_is_told_so_hung_up_on_and_never_served(
    shared: Bridge, provider: ThreadedProvider, script: Script, case: str, kind: str
) -> None:
    """The rest of the connection is nobody's: what stands there is no request."""
    data = request(case, b"0\r\n\r\n" + hidden(case), *AMBIGUOUS[kind])
    (told,) = answers(shared.port, data)
    assert told.status == (501 if kind in UNKNOWN else 400)
    assert (told.first("content-type"), told.json()["code"]) == ("application/json", str(told.status))
    assert not {case, f"{case}-hidden"} & set(provider.seen)
    assert served(shared.port, provider, script, f"{case}-after")


@pytest.mark.parametrize("size", [b"x", b"-1", b"1 1", b"0x1", b"f" * 17], ids=repr)
def test_a_chunk_without_a_size_is_hung_up_on(
    shared: Bridge, provider: ThreadedProvider, case: str, size: bytes
) -> None:
    """Without a word: the sidecar is being asked about the request by then, and Envoy does not wait."""
    data = request(case, size + b"\r\n" + hidden(case), CHUNKED)
    assert {told.status for told in answers(shared.port, data)} <= {400}
    assert not {case, f"{case}-hidden"} & set(provider.seen)


SIZE = b"%x" % len(ASKED)
END = b"\r\n0\r\n\r\n"
# A body in chunks whose lines another reader could end elsewhere.
UNEVEN = {
    "an extension ended by a line feed": SIZE + b";\n" + ASKED + END,
    "a line feed in an extension": SIZE + b";a\nb\r\n" + ASKED + END,
    "a carriage return in an extension": SIZE + b";a\rb\r\n" + ASKED + END,
    "a size ended by a line feed": SIZE + b"\n" + ASKED + END,
    "a space before the size": b" " + SIZE + b"\r\n" + ASKED + END,
    "line feeds alone in the end": SIZE + b"\r\n" + ASKED + b"\r\n0\n\n",
    "a size beyond 64 bits": b"1" + SIZE.zfill(16) + b"\r\n" + ASKED + END,
}
EVEN = {
    "extensions": SIZE + b";a=b\r\n" + ASKED + b"\r\n0;c\r\n\r\n",
    "a quote without an end": SIZE + b';a="\r\n' + ASKED + END,
    "a NUL in an extension": SIZE + b";a\0b\r\n" + ASKED + END,
    "a long extension": SIZE + b";" + b"a" * 20_000 + b"\r\n" + ASKED + END,
    "zeros before the size": SIZE.zfill(30) + b"\r\n" + ASKED + END,
    "a space behind the size": SIZE + b" \r\n" + ASKED + END,
    "more than the size says": SIZE + b"\r\n" + ASKED + b"xx" + END,  # Envoy skips it, to the line's end
    "a length in the end": SIZE + b"\r\n" + ASKED + b"\r\n0\r\ncontent-length: 5\r\n\r\n",
    "chunks in the end": SIZE + b"\r\n" + ASKED + b"\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("kind", UNEVEN)
def test_chunks_whose_ends_two_readers_could_see_apart_are_hung_up_on(
    shared: Bridge, provider: ThreadedProvider, script: Script, case: str, kind: str
) -> None:
    data = request(case, UNEVEN[kind] + hidden(case), CHUNKED)
    assert {told.status for told in answers(shared.port, data)} <= {400}
    assert not {case, f"{case}-hidden"} & set(provider.seen)
    assert shared.sessions(case) == []
    assert served(shared.port, provider, script, f"{case}-after")


@pytest.mark.parametrize("kind", EVEN)
def test_what_chunks_say_beside_the_body_is_not_passed_on(
    shared: Bridge, provider: ThreadedProvider, script: Script, case: str, kind: str
) -> None:
    """Chunk extensions are allowed (RFC 9112, 7.1.1), and ours to drop."""
    script[case] = whole(case)
    assert ask(shared.port, case, EVEN[kind], CHUNKED).body == whole(case).body
    (seen,) = provider.seen[case]
    assert (seen.body, seen.all("content-length"), seen.all("transfer-encoding")) == (ASKED, [], ["chunked"])
