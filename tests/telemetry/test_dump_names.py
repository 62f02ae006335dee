"""Folders by the names that clients choose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.telemetry.dumps.names import REQUEST, RESPONSE, folder, is_dump

NAMES = st.text() | st.text("abAB.-_/\\+ ~") | st.sampled_from(["..", ".", "", "con", "CON.txt", "a/../b", "x" * 300])


@given(one=NAMES, other=NAMES)
def test_two_models_never_share_a_folder(one: str, other: str) -> None:
    """Nor on a file system that takes upper case for lower."""
    first, second = folder("openai", one)[1], folder("openai", other)[1]
    assert (first.lower() == second.lower()) is (one == other)


@given(name=NAMES)
def test_a_folder_is_below_and_has_a_name_that_any_file_system_takes(name: str) -> None:
    found = folder(name, name)[1]
    assert found.isascii()
    assert 0 < len(found) <= 80
    assert not set(found) & set('/\\:*?"<>| \0')
    assert found.strip(".") == found
    assert found.partition(".")[0] not in {"con", "nul", "prn", "aux", "com1", "lpt1"}


@pytest.mark.parametrize("name", ["gpt-5", "gpt-5.1_mini", "o3", "a"])
def test_a_plain_name_stays(name: str) -> None:
    assert folder("openai", name) == ("openai", name)


def test_a_name_that_is_spelt_otherwise_is_still_told() -> None:
    assert folder("openai", "Org/Model One")[1].startswith("org-model-one+")
    assert folder("openai", "")[1].startswith("unnamed+")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (f"019a0000-0000-7000-8000-000000000001{REQUEST}", True),
        (f"019a0000-0000-7000-8000-000000000001{RESPONSE}", True),
        ("notes.request.txt", False),
        ("019a0000-0000-7000-8000-000000000001.txt", False),
    ],
)
def test_only_what_is_ours_may_be_deleted(name: str, told: bool) -> None:  # noqa: FBT001 - as parametrized
    assert is_dump(name) is told
