"""One byte of what we answer changed: on purpose? Then `python -m tests.contract.regenerate`, and read the diff."""

from pathlib import Path

import pytest

from tests.contract.situations import GOLDEN, SITUATIONS, played


@pytest.mark.parametrize("cuts", [False, True])
@pytest.mark.parametrize("name", SITUATIONS)
async def test_what_we_answer_is_what_we_always_answered(folder: Path, name: str, *, cuts: bool) -> None:
    """`cuts` shows only where something goes wrong."""
    async with played(name, folder, cuts=cuts) as transcript:
        assert str(transcript) == (GOLDEN / f"{name}.txt").read_text()


def test_every_transcript_is_played() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == SITUATIONS.keys()
