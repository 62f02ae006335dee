"""HTTP/2 that would be two requests if it were written down as HTTP/1.1, as it is for the provider: refused, or one."""

from dataclasses import dataclass, field

import pytest

from examples.answers import Seen
from examples.provider import ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, Bridge
from tests.e2e.connections import RESPONSES, Pairs, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.hostile.http2 import exchange, pairs

LENGTH = str(len(ASKED))
FORGED = "x-forged"
LINE = f"\r\n{FORGED}: 1"
REST = f" HTTP/1.1{LINE}\r\n\r\n"  # of a request line, and the end of its headers
CHUNKED = ("transfer-encoding", "chunked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """A request that differs from an ordinary one. `instead`: other values, None for none; `first`: before the rest."""

    first: Pairs = ()
    instead: dict[str, str | None] = field(default_factory=dict)
    more: Pairs = ()
    trailers: Pairs = ()
    hides: bool = False  # the body ends, by HTTP/1.1, before a second request

    def headers(self, case: str) -> Pairs:
        """All of them."""
        usual = ((name, self.instead.get(name, value)) for name, value in pairs(case))
        return (*self.first, *((name, value) for name, value in usual if value is not None), *self.more)

    def body(self, case: str) -> list[bytes]:
        """Its frames."""
        return [b"0\r\n\r\n", hidden(case)] if self.hides else [ASKED]


def hidden(case: str) -> bytes:
    """A request that nobody may take for one."""
    return request(f"{case}-hidden", ASKED)


def lengths(*values: str) -> Odd:
    return Odd(more=tuple(("content-length", value) for value in values))


def header(name: str, value: str) -> Odd:
    return Odd(more=((name, value),))


def double(name: str, value: str) -> Odd:
    return Odd(first=((name, value),))


REFUSED = {
    "a length too short": lengths("5"),
    "a length too long": lengths("500"),
    "a length of nothing": Odd(more=(("content-length", "0"),), hides=True),
    "two lengths": lengths(LENGTH, "5"),
    "one length twice": lengths(LENGTH, LENGTH),
    "two lengths in one": lengths(f"{LENGTH}, 5"),
    "a signed length": lengths(f"+{LENGTH}"),
    "a length behind a space": lengths(f" {LENGTH}"),
    "no number": lengths("five"),
    "a length beyond 64 bits": lengths(str(2**64 + len(ASKED))),
    "chunks": Odd(more=(CHUNKED,), hides=True),
    "chunks and a length": Odd(more=(("content-length", LENGTH), CHUNKED)),
    "chunks in capitals": header("Transfer-Encoding", "chunked"),
    "no coding": header("transfer-encoding", "identity"),
    "chunks by another name": header("te", "chunked"),
    "a connection's header": header("connection", "content-length"),
    "a proxy connection's header": header("proxy-connection", "keep-alive"),
    "keep-alive": header("keep-alive", "1"),
    "another protocol": header("upgrade", "h2c"),
    "a line end in a value": Odd(more=(("x-a", "a\r\ntransfer-encoding: chunked"),), hides=True),
    "a line feed in a value": Odd(more=(("x-a", "a\ntransfer-encoding: chunked"),), hides=True),
    "a carriage return in a value": header("x-a", "a\rtransfer-encoding: chunked"),
    "a NUL in a value": header("x-a", "a\0b"),
    "a line end in a name": header("x-a: 1\r\ntransfer-encoding", "chunked"),
    "a colon in a name": header("content-length:", "5"),
    "a space behind a name": header("transfer-encoding ", "chunked"),
    "a space before a name": header(" transfer-encoding", "chunked"),
    "no name": header("", "1"),
    "a request in the path": Odd(instead={":path": RESPONSES + REST}),
    "a version in the path": Odd(instead={":path": f"{RESPONSES} HTTP/1.1"}),
    "a header in the path": Odd(instead={":path": RESPONSES + LINE}),
    "a tab in the path": Odd(instead={":path": f"{RESPONSES}\tx"}),
    "an absolute path": Odd(instead={":path": f"http://other.example{RESPONSES}"}),
    "a fragment": Odd(instead={":path": f"{RESPONSES}#x"}),
    "an empty path": Odd(instead={":path": ""}),
    "no path": Odd(instead={":path": None}),
    "a request in the method": Odd(instead={":method": f"POST {RESPONSES}{REST}GET"}),
    "a path in the method": Odd(instead={":method": f"POST {RESPONSES}"}),
    "no method": Odd(instead={":method": None}),
    "a path in the scheme": Odd(instead={":scheme": "http://other.example/?"}),
    "no scheme": Odd(instead={":scheme": None}),
    "a header in the authority": Odd(instead={":authority": f"bridge.example{LINE}"}),
    "a user in the authority": Odd(instead={":authority": "bridge.example@other.example"}),
    "nobody's name": Odd(instead={":authority": None}),
    "two paths": double(":path", "/healthz"),
    "two methods": double(":method", "GET"),
    "two authorities": double(":authority", "other.example"),
    "two schemes": double(":scheme", "https"),
    "a path behind the headers": header(":path", "/healthz"),
    "a pseudo header of nobody's": double(":forged", "1"),
    "a response's pseudo header": double(":status", "200"),
    "two hosts": Odd(more=(("host", "one.example"), ("host", "other.example"))),
    "a length behind the body": Odd(trailers=(("content-length", "5"),)),
    "chunks behind the body": Odd(trailers=(CHUNKED,)),
    "a path behind the body": Odd(trailers=((":path", "/healthz"),)),
    "a line end behind the body": Odd(trailers=(("x-a", f"a{LINE}"),)),
}
ONE = {
    "nothing odd": Odd(),
    "a length as it is": lengths(LENGTH),
    "a length with zeros": lengths(f"00{LENGTH}"),
    "trailers are welcome": header("te", "trailers"),
    "another scheme": Odd(instead={":scheme": "file"}),
    "a host beside the authority": header("host", "other.example"),
    "a host instead of the authority": Odd(instead={":authority": None}, more=(("host", "other.example"),)),
    "somebody else behind the body": Odd(trailers=(("x-forwarded-user", "eve"), ("authorization", "Bearer x"))),
    "a line end that is none": header("x-a", "a%0d%0ax-forged: 1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_http_1_would_read_in_two_ways_is_refused_and_never_asked_of_the_provider(
    attack: Bridge, provider: ThreadedProvider, script: Script, case: str, kind: str
) -> None:
    """By 400, the stream's end or the connection's."""
    odd = REFUSED[kind]
    script[case] = whole(case)
    assert exchange(attack.port, odd.headers(case), odd.body(case), odd.trailers).status in {0, 400}
    assert not {case, f"{case}-hidden"} & set(provider.seen)
    assert attack.sessions(case) == attack.sessions(f"{case}-hidden") == []


@pytest.mark.parametrize("kind", ONE)
def test_what_is_taken_is_one_request_whose_length_is_its_own_to_the_provider_of_our_choice(
    attack: Bridge, provider: ThreadedProvider, script: Script, case: str, kind: str
) -> None:
    odd = ONE[kind]
    script[case] = whole(case)
    heard = exchange(attack.port, odd.headers(case), odd.body(case), odd.trailers)
    assert (heard.status, heard.body) == (200, whole(case).body)
    (seen,) = provider.seen[case]
    assert (seen.method, seen.target, seen.body) == ("POST", "/v1/responses", ASKED)
    assert framing(seen) in ([], [len(ASKED)])
    assert seen.all("host") == [provider.url.removeprefix("http://")]
    assert seen.all("authorization") == [f"Bearer {CENTRAL_KEY}"]
    assert seen.all(FORGED) == []
    recorded = attack.session(case)
    assert (recorded.ended, recorded.interception["initiator_id"]) == (("completed", None, 200), "ada")


def framing(seen: Seen) -> list[int]:
    """The lengths that it tells; none where it is chunked, which it is not beside a length."""
    told = [int(value) for value in seen.all("content-length")]
    assert seen.all("transfer-encoding") == ([] if told else ["chunked"])
    return told
