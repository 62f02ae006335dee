from collections.abc import Iterator
from itertools import repeat
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from sidecar.ids import Ids

NOW = 1_790_000_000.123
MILLIS = 1_790_000_000_123


def clock(*times: float) -> Iterator[float]:
    yield from times


def test_an_id_is_laid_out_as_the_rfc_has_it() -> None:
    """RFC 9562, section 5.7: 48 bits of milliseconds, version 7, 12 bits, variant 0b10, 62 bits."""
    name = Ids(lambda: NOW, repeat(0))()
    assert name == f"{MILLIS:012x}"[:8] + "-" + f"{MILLIS:012x}"[8:] + "-7000-8000-000000000000"
    made = UUID(name)
    assert (made.version, made.variant, made.int >> 80) == (7, "specified in RFC 4122", MILLIS)


def test_the_counter_fills_all_the_bits_behind_the_time() -> None:
    name = Ids(lambda: NOW, repeat(2**73 - 1))()
    assert name.split("-", 2)[2] == "77ff-bfff-ffffffffffff"


def test_within_a_millisecond_the_counter_goes_up() -> None:
    """And carries from the lower part into the higher."""
    ids = Ids(lambda: NOW, repeat(2**62 - 1))
    assert [ids().split("-", 2)[2] for _ in range(2)] == ["7000-bfff-ffffffffffff", "7001-8000-000000000000"]


def test_a_new_millisecond_has_a_new_counter() -> None:
    """Nobody can tell from an id how many there were before."""
    times = clock(NOW, NOW + 0.5)
    ids = Ids(lambda: next(times), iter((5, 3)))
    assert [ids()[-1] for _ in range(2)] == ["5", "3"]


@given(times=st.lists(st.floats(0, 2**37), min_size=1))
def test_later_ids_sort_after_earlier_ones_however_the_clock_goes(times: list[float]) -> None:
    now = clock(*times)
    ids = Ids(lambda: next(now))
    made = [ids() for _ in times]
    assert made == sorted(set(made))


def test_two_processes_do_not_make_the_same() -> None:
    """The counter starts at random: 73 bits of it."""
    assert Ids(lambda: NOW)() != Ids(lambda: NOW)()


def test_the_random_bits_leave_room_to_count() -> None:
    """A counter that started at its end would run over into the version."""
    name = Ids(lambda: NOW, repeat(2**80 - 1))()
    assert name.split("-", 2)[2] == "77ff-bfff-ffffffffffff"
