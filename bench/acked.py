"""Envoy with the acking processor behind it, or with none, as `aibridge-sidecar up` is Envoy with the sidecar.

python -m bench.acked --config FILE [--alone]
"""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import click
import yaml
from typing_extensions import override

from sidecar import premises
from sidecar.admin import Envoy
from sidecar.children import Child, EnvoyChild
from sidecar.settings import Settings, load

_OURS = frozenset({"ext_proc", "rbac"})


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


class EnvoyAlone(EnvoyChild):
    """Our Envoy without processor and verdict: the router alone, with its routes, limits and access log."""

    @override
    async def _bootstrap(self) -> bytes:
        bootstrap = yaml.safe_load(await super()._bootstrap())
        for listener in bootstrap["static_resources"]["listeners"]:
            for chain in listener["filter_chains"]:
                manager = chain["filters"][0]["typed_config"]
                kept = [one for one in manager["http_filters"] if one["name"].rpartition(".")[2] not in _OURS]
                manager["http_filters"] = kept
                for one in kept:  # /healthz: ready though there is no worker
                    one["typed_config"].pop("cluster_min_healthy_percentages", None)
        return yaml.safe_dump(bootstrap).encode()


async def _up(settings: Settings, *, alone: bool) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    envoy = settings, premises.envoy(settings), Envoy(settings)
    children = (EnvoyAlone(*envoy),) if alone else (Acker(settings), EnvoyChild(*envoy))
    try:
        for child in children:
            await child.start()
        await stop.wait()
    finally:
        for child in reversed(children):
            await child.stop()


@click.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), required=True, help="TOML file.")
@click.option("--alone", is_flag=True, help="Envoy without a processor.")
def main(*, config: Path, alone: bool) -> None:
    """Run both in the foreground until SIGTERM or ctrl-C."""
    premises.close_to_others()
    settings = load(config)
    with premises.runtime_dir(settings):
        asyncio.run(_up(settings, alone=alone))


if __name__ == "__main__":
    main()
