import gzip
import zlib

import brotli
import pytest
import zstandard

from sidecar.core.codings import CODINGS, CORRUPT, GULP, MARGIN, PIECE, Member, Salvage

TEXT = b"what was said, and said again; " * 20
RLE = b"\x28\xb5\x2f\xfd\x00\x58" + ((131_072 << 3) | 2).to_bytes(3, "little") + b"\0"  # a frame's header, 128 KiB
ENCODED = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "x-gzip": gzip.compress(TEXT, mtime=0),
    "deflate": zlib.compress(TEXT),
    "br": brotli.compress(TEXT),
    "zstd": zstandard.compress(TEXT),
}


def begun(name: str, data: bytes) -> Member:
    return CODINGS[name]().begin(data[0])


@pytest.mark.parametrize("name", ENCODED)
def test_a_member_ends_with_its_last_byte(name: str) -> None:
    data = ENCODED[name]
    member = begun(name, data)
    assert b"".join(member.feed(data[:-1], 1000)) + b"".join(member.feed(data[-1:], 1000)) == TEXT
    assert member.ended
    assert member.rest == b""


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
def test_what_follows_a_member_is_left(name: str) -> None:
    member = begun(name, ENCODED[name])
    assert b"".join(member.feed(ENCODED[name] + b"more", 1000)) == TEXT
    assert member.ended
    assert member.rest == b"more"


def test_nothing_may_follow_brotli() -> None:
    member = begun("br", ENCODED["br"])
    with pytest.raises(CORRUPT):
        list(member.feed(ENCODED["br"] + b"more", 1000))


def test_deflate_comes_with_and_without_a_wrapper() -> None:
    """Every window that zlib's header can name, and every kind of block that a bare stream can begin with."""
    for bits in range(9, 16):
        for level in (0, 1, 9):
            for window in (bits, -bits):
                packer = zlib.compressobj(level, wbits=window)
                data = packer.compress(TEXT) + packer.flush()
                assert b"".join(begun("deflate", data).feed(data, 1000)) == TEXT


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
def test_what_the_library_bounds_comes_in_small_pieces(name: str) -> None:
    bomb = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}[name](bytes(8 << 20))
    pieces = list(begun(name, bomb).feed(bomb, 1000))
    assert sum(map(len, pieces)) == 8 << 20
    assert max(map(len, pieces)) < 2 * PIECE


@pytest.mark.parametrize(("room", "most"), [(0, MARGIN), (GULP, GULP + MARGIN), (1 << 40, GULP + MARGIN)])
def test_what_it_does_not_bound_passes_the_room_by_no_more_than_the_margin(room: int, most: int) -> None:
    """Four bytes make 128 KiB: the densest that zstd can be."""
    bomb = RLE + RLE[-4:] * 200
    pieces = begun("zstd", bomb).feed(bomb, room)
    assert 0 < len(next(pieces)) <= most


def test_a_frame_with_too_wide_a_window_is_corrupt() -> None:
    """RFC 9659: 8 MiB at most."""
    for window_log, is_sound in ((23, True), (24, False)):
        parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
        packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        data = packer.compress(TEXT) + packer.flush()
        member = begun("zstd", data)
        if is_sound:
            assert b"".join(member.feed(data, 1000)) == TEXT
        else:
            with pytest.raises(CORRUPT):
                list(member.feed(data, 1000))


@pytest.mark.parametrize("name", CODINGS)
def test_other_bytes_are_corrupt(name: str) -> None:
    with pytest.raises(CORRUPT):
        list(begun(name, b"\xff" * 100).feed(b"\xff" * 100, 1000))


# What is salvaged


def salvaging(name: str, data: bytes) -> Salvage:
    return Salvage(begun(name, data), begun(name, data))


@pytest.mark.parametrize("name", ENCODED)
def test_what_is_sound_is_decoded_as_without(name: str) -> None:
    data = ENCODED[name]
    member = salvaging(name, data)
    assert b"".join(member.feed(data[:-1], 1000)) + b"".join(member.feed(data[-1:], 1000)) == TEXT
    assert member.ended
    assert member.rest == b""


@pytest.mark.parametrize("name", ["gzip", "deflate"])
@pytest.mark.parametrize("begun_with", [0, 10, 30])
def test_of_a_fault_all_comes_that_was_said_before_it_and_once(name: str, begun_with: int) -> None:
    """The checksum is wrong, so that there is nothing wrong before it; of long pieces some were given already."""
    text = bytes(PIECE + 1000)
    data = bytearray({"gzip": gzip.compress, "deflate": zlib.compress}[name](text))
    data[-5 if name == "gzip" else -1] ^= 1
    member = salvaging(name, data)
    found = [*member.feed(bytes(data[:begun_with]), 1000)] if begun_with else []
    with pytest.raises(CORRUPT):
        found.extend(member.feed(bytes(data[begun_with:]), 1000))
    assert b"".join(found) == text
