import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.content import MAX_MEMBERS, Decoder, TooLarge, Undecodable, decoded
from tests.core.play import cut, one_by_one

LIMIT = 1 << 20
TEXT = b'{"model":"gpt-5","input":"' + b"hello, hello, " * 1000 + b'"}'


def gz(data: bytes) -> bytes:
    """Without the time of day, that every run has the same bytes."""
    return gzip.compress(data, mtime=0)


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gz,
    "x-gzip": gz,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=5),
    "zstd": zstandard.compress,
}
NAMES = st.lists(st.sampled_from(sorted(PACKERS)), max_size=3)


def packed(data: bytes, names: list[str]) -> bytes:
    for name in names:
        data = PACKERS[name](data)
    return data


def read(chunks: list[bytes], encoding: str | None, limit: int = LIMIT) -> tuple[bytes, Decoder]:
    decoder = Decoder(encoding, limit)
    return b"".join([decoder.feed(chunk) for chunk in chunks]), decoder


@pytest.mark.parametrize("encoding", [None, "", "identity", " Identity , ,"])
def test_what_is_not_encoded_stays_the_same_object(encoding: str | None) -> None:
    decoder = Decoder(encoding, len(TEXT))
    assert decoder.complete()
    assert decoder.feed(TEXT) is TEXT
    assert decoder.complete()
    assert decoded(TEXT, encoding, len(TEXT)) is TEXT


@pytest.mark.parametrize("encoding", ["none", "UTF-8", "None, identity"])
def test_what_names_no_coding_is_none_for_those_who_read_as_clients_do(encoding: str) -> None:
    assert Decoder(encoding, len(TEXT)).feed(TEXT) is TEXT
    with pytest.raises(Undecodable):
        decoded(TEXT, encoding, len(TEXT))


def test_what_is_not_encoded_is_given_up_to_the_limit() -> None:
    decoder = Decoder(None, 5)
    assert decoder.feed(b"abc") == b"abc"
    assert decoder.feed(b"def") == b"de"
    assert decoder.failed
    assert not decoder.complete()
    assert decoder.feed(b"g") == b""
    with pytest.raises(TooLarge):
        decoded(b"abcdef", None, 5)


@pytest.mark.parametrize("name", ["gzip", "GZip", "x-gzip", " deflate\t", "br", "BR", "zstd", "identity, zstd"])
def test_codings_are_known_in_any_case(name: str) -> None:
    body = PACKERS[name.rpartition(",")[2].strip().lower()](TEXT)
    assert decoded(body, name, LIMIT) == TEXT


def test_deflate_needs_no_wrapper() -> None:
    """Servers have sent both under that name ever since."""
    assert decoded(bare(TEXT), "deflate", LIMIT) == TEXT


def test_codings_are_undone_from_the_last() -> None:
    assert decoded(brotli.compress(gz(TEXT)), "gzip, br", LIMIT) == TEXT
    with pytest.raises(Undecodable):
        decoded(brotli.compress(gz(TEXT)), "br, gzip", LIMIT)


@pytest.mark.parametrize("encoding", ["compress", "gzip, snappy", "gzip;q=1", "gzip br", "gzip,gzip,gzip,gzip"])
def test_other_codings_and_more_than_three_are_unsupported(encoding: str) -> None:
    decoder = Decoder(encoding, LIMIT)
    assert decoder.failed
    assert not decoder.complete()
    assert decoder.feed(TEXT) == b""
    with pytest.raises(Undecodable):
        decoded(TEXT, encoding, LIMIT)


@given(data=st.binary(max_size=2000), names=NAMES, places=st.lists(st.integers(0, 5000), max_size=10))
def test_any_cut_decodes_to_what_was_encoded(data: bytes, names: list[str], places: list[int]) -> None:
    body, encoding = packed(data, names), ", ".join(names)
    for chunks in ([body], cut(body, places), one_by_one(body)):
        plain, decoder = read(chunks, encoding)
        assert plain == data
        assert decoder.complete()
        assert not decoder.surplus
    assert decoded(body, encoding, LIMIT) == data


@pytest.mark.parametrize("name", PACKERS)
def test_a_body_larger_than_every_buffer_is_decoded(name: str) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(250_000))
    assert decoded(PACKERS[name](data), name, len(data)) == data


@given(data=st.binary(max_size=200), encoding=st.sampled_from([*PACKERS, "gzip, br", "identity", "rot13"]))
def test_whatever_comes_nothing_is_raised(data: bytes, encoding: str) -> None:
    for chunks in ([data], one_by_one(data)):
        _, decoder = read(chunks, encoding)
        assert not (decoder.failed and decoder.complete())


EVENTS = [b'data: {"type":"response.created","n":%d}\n\n' % number for number in range(20)]
DAMAGES = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=3)


def flushed(name: str) -> bytes:
    """Events, each flushed as servers do it, so that something was said before any fault."""
    packer: Any
    match name:
        case "br":
            packer = brotli.Compressor()
            pack, flush, finish = packer.process, packer.flush, packer.finish
        case "zstd":
            packer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
            pack, flush, finish = (
                packer.compress,
                partial(packer.flush, zstandard.COMPRESSOBJ_FLUSH_BLOCK),
                packer.flush,
            )
        case _:
            packer = zlib.compressobj(wbits=31 if name == "gzip" else 15)
            pack, flush, finish = packer.compress, partial(packer.flush, zlib.Z_SYNC_FLUSH), packer.flush
    return b"".join([*(part for event in EVENTS for part in (pack(event), flush())), finish()])


def damaged(body: bytes, damages: list[tuple[int, int]]) -> bytes:
    broken = bytearray(body)
    for place, byte in damages:
        broken[place % len(body)] ^= byte
    return bytes(broken)


@given(
    damages=DAMAGES,
    more=st.sampled_from([b"", b"\x1f", b"more", b"\x28\xb5\x2f\xfd"]),
    places=st.lists(st.integers(0, 5000), max_size=5),
)
@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_of_a_damaged_body_all_before_the_fault_is_given_however_it_was_cut(
    name: str, damages: list[tuple[int, int]], more: bytes, places: list[int]
) -> None:
    body = damaged(flushed(name) + more, damages)
    whole, at_once = read([body], name)
    for chunks in (cut(body, places), one_by_one(body)):
        plain, decoder = read(chunks, name)
        assert plain == whole
        assert (decoder.failed, decoder.complete()) == (at_once.failed, at_once.complete())


@given(damages=DAMAGES, places=st.lists(st.integers(0, 5000), max_size=5), names=NAMES, limit=st.integers(0, 3000))
def test_within_its_bounds_and_whatever_the_codings(
    damages: list[tuple[int, int]], places: list[int], names: list[str], limit: int
) -> None:
    """Once something has failed nothing more is given."""
    encoding = ", ".join(["gzip", *names])
    body = damaged(packed(flushed("gzip"), names), damages)
    whole, at_once = read([body], encoding, limit)
    for chunks in (cut(body, places), one_by_one(body)):
        plain, decoder = read(chunks, encoding, limit)
        assert (plain, decoder.failed) == (whole, at_once.failed)
    assert len(whole) <= limit


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_fault_at_the_end_costs_nothing_that_was_said_before(name: str) -> None:
    body = flushed(name)
    plain, decoder = read([body + b"more" if name == "br" else damaged(body, [(-1, 0x55)])], name)
    assert plain == b"".join(EVENTS)
    assert decoder.failed


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "zstd"])
def test_several_members_are_one_body(name: str) -> None:
    pack = PACKERS[name]
    body = pack(b"one, ") + pack(b"") + pack(b"two, ") + pack(b"three")
    for chunks in ([body], one_by_one(body)):
        plain, decoder = read(chunks, name)
        assert plain == b"one, two, three"
        assert decoder.complete()
    assert decoded(body, name, 15) == b"one, two, three"


def test_a_skippable_frame_is_skipped() -> None:
    """RFC 8878, section 3.1.2."""
    skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0abc"
    body = skippable + zstandard.compress(b"one, ") + skippable + zstandard.compress(b"two") + skippable
    for chunks in ([body], one_by_one(body)):
        plain, decoder = read(chunks, "zstd")
        assert plain == b"one, two"
        assert decoder.complete()


def test_a_body_is_complete_at_the_end_of_a_member_only() -> None:
    member = gz(TEXT)
    decoder = Decoder("gzip", LIMIT)
    states = []
    for byte in one_by_one(member * 2):
        decoder.feed(byte)
        states.append(decoder.complete())
    assert [at for at, is_complete in enumerate(states, 1) if is_complete] == [len(member), 2 * len(member)]


@pytest.mark.parametrize("name", PACKERS)
def test_a_body_cut_short_is_incomplete(name: str) -> None:
    body = PACKERS[name](TEXT)
    for end in (0, 1, len(body) // 2, len(body) - 1):
        assert not read([body[:end]], name)[1].complete()
        with pytest.raises(Undecodable):
            decoded(body[:end], name, LIMIT)


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "deflate", "zstd"])
@pytest.mark.parametrize("rest", [b"\n", b"\0" * 9, b"rubbish", b"\x1f\x8c", b"\x28\xb5\x2f\xfc"])
def test_clients_ignore_what_follows_and_so_does_a_response(name: str, rest: bytes) -> None:
    body = PACKERS[name](TEXT) + rest
    for chunks in ([body, b"more"], [*one_by_one(body), b"more"]):
        plain, decoder = read(chunks, name)
        assert plain == TEXT
        assert not decoder.failed
        assert decoder.complete()
        assert decoder.surplus
    with pytest.raises(Undecodable):
        decoded(body, name, LIMIT)


def test_brotli_clients_fail_at_what_follows() -> None:
    body = brotli.compress(TEXT) + b"\n"
    assert read([body], "br")[1].failed
    plain, decoder = read(one_by_one(body), "br")
    assert plain == TEXT
    assert decoder.failed
    with pytest.raises(Undecodable):
        decoded(body, "br", LIMIT)


def test_what_may_become_another_member_leaves_the_body_incomplete() -> None:
    _, decoder = read([gz(TEXT) + b"\x1f"], "gzip")
    assert not decoder.complete()
    assert not decoder.failed
    decoder.feed(b"\0")
    assert decoder.complete()


@pytest.mark.parametrize("name", PACKERS)
def test_the_limit_is_exact(name: str) -> None:
    body = PACKERS[name](TEXT)
    assert decoded(body, name, len(TEXT)) == TEXT
    with pytest.raises(TooLarge):
        decoded(body, name, len(TEXT) - 1)
    for chunks in ([body], one_by_one(body)):
        plain, decoder = read(chunks, name, len(TEXT) - 1)
        assert plain == TEXT[:-1]
        assert decoder.failed


def test_the_limit_is_exact_for_members_together() -> None:
    body = gz(b"abc") + gz(b"def")
    assert decoded(body, "gzip", 6) == b"abcdef"
    with pytest.raises(TooLarge):
        decoded(body, "gzip", 5)


def test_what_is_flushed_is_decoded_at_once() -> None:
    """So that an event is seen when it comes, not with the next one."""
    deflate = {name: zlib.compressobj(wbits=bits) for name, bits in (("gzip", 31), ("deflate", -15))}
    packers = {name: (c.compress, lambda c=c: c.flush(zlib.Z_SYNC_FLUSH)) for name, c in deflate.items()}
    br, zstd = brotli.Compressor(), zstandard.ZstdCompressor().compressobj()
    packers["br"] = (br.process, br.flush)
    packers["zstd"] = (zstd.compress, lambda: zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    for name, (pack, flush) in packers.items():
        decoder = Decoder(name, LIMIT)
        for number in range(50):
            event = b"data: %d\n\n" % number
            assert decoder.feed(pack(event) + flush()) == event
        assert not decoder.complete()


def rle(blocks: int) -> bytes:
    """A zstd frame of blocks of 128 KiB of zeros, four bytes each."""
    return b"\x28\xb5\x2f\xfd\x00\x58" + (((131_072 << 3) | 2).to_bytes(3, "little") + b"\0") * blocks


@pytest.mark.parametrize("names", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "br, zstd", "zstd, gzip"])
def test_a_bomb_costs_little_more_memory_than_the_limit(names: str) -> None:
    bomb = packed(bytes(64 << 20), names.split(", "))
    assert_bounded(bomb, names)


@pytest.mark.parametrize("names", ["zstd", "gzip, zstd"])
def test_the_densest_bomb_costs_no_more(names: str) -> None:
    assert_bounded(rle(100_000), names)


def assert_bounded(bomb: bytes, names: str) -> None:
    tracemalloc.start()
    with pytest.raises((TooLarge, Undecodable)):
        decoded(bomb, names, 8 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_members_are_counted(name: str) -> None:
    """They cost time, and may decode to nothing."""
    member = PACKERS[name](b"")
    assert decoded(member * MAX_MEMBERS, name, 0) == b""
    with pytest.raises(TooLarge):
        decoded(member * (MAX_MEMBERS + 1), name, 0)


def test_an_error_holds_no_content() -> None:
    for encoding in ("gzip", "hunter2"):
        with pytest.raises(Undecodable) as raised:
            decoded(b"hunter2", encoding, LIMIT)
        assert "hunter2" not in str(raised.value)
