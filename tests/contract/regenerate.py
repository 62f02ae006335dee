"""Writes the golden transcripts anew: `python -m tests.contract.regenerate`.

For when what we answer was changed on purpose. The diff is what Envoy will see of the change.
"""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.contract.situations import GOLDEN, SITUATIONS, played


async def _write(name: str) -> None:
    with TemporaryDirectory() as folder:
        async with played(name, Path(folder)) as transcript:
            (GOLDEN / f"{name}.txt").write_text(str(transcript))


if __name__ == "__main__":
    for file in GOLDEN.glob("*.txt"):
        file.unlink()
    for situation in SITUATIONS:
        asyncio.run(_write(situation))
