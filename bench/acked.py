"""Envoy with the acking processor behind it, as `aibridge-sidecar up` is Envoy with the sidecar.

python -m bench.acked --config FILE
"""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import click
from typing_extensions import override

from sidecar import premises
from sidecar.admin import Envoy
from sidecar.children import Child, EnvoyChild
from sidecar.settings import Settings, load


class Acker(Child):
    """The processor, where a worker would be."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("acking processor", 2.0)
        self._settings = settings

    @override
    async def _spawned(self) -> Process:
        arguments = ("-m", "bench.acking", self._settings.socket(0), self._settings.verdict)
        return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, process_group=0)

    @override
    async def _serves(self, process: Process) -> bool:
        return process.returncode is None  # Envoy is ready when it is

    @override
    async def _ended(self) -> None:
        """Nothing."""


async def _up(settings: Settings) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    children = (Acker(settings), EnvoyChild(settings, premises.envoy(settings), Envoy(settings)))
    try:
        for child in children:
            await child.start()
        await stop.wait()
    finally:
        for child in reversed(children):
            await child.stop()


@click.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), required=True, help="TOML file.")
def main(config: Path) -> None:
    """Run both in the foreground until SIGTERM or ctrl-C."""
    premises.close_to_others()
    settings = load(config)
    with premises.runtime_dir(settings):
        asyncio.run(_up(settings))


if __name__ == "__main__":
    main()
