"""The provider of the benchmarks, a process of its own: python -m bench.provider EVENTS PACE DELAY. Prints its URL."""

import asyncio
import sys

import click
import uvloop

from bench.exchanges import answers
from examples.provider import Provider


async def _serve(count: int, pace: float, delay: float) -> None:
    async with Provider(answers(count, pace, delay), keep=False) as provider:
        click.echo(provider.url)
        gone = asyncio.Event()
        # Nothing is written there: it becomes readable when the parent has gone.
        asyncio.get_running_loop().add_reader(sys.stdin, gone.set)
        await gone.wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
