"""What peers are compared with, as gateways: none, Envoy alone, the acking processor, ours with either server."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.peers.makes import Counts
from bench.peers.running import Gateway
from bench.ways import OURS, QUICK, Way, ways


@contextmanager
def ours(folder: Path, url: str) -> Iterator[list[Gateway]]:
    """All of them, running, in front of the provider at `url`."""
    with ways(folder, url, quick=True) as found:
        yield [_gateway(one) for one in found.values()]


def _gateway(one: Way) -> Gateway:
    pids = (one.bridge.envoy, *one.bridge.processors) if one.bridge else ()
    database = one.bridge.settings.database if one.bridge else None
    counts = (lambda: _recorded(database)) if database and one.name in {OURS, QUICK} else None
    return Gateway(name=one.name, address=one.address, pids=lambda: pids, counts=counts)


def _recorded(database: Path) -> Counts:
    with closing(sqlite3.connect(database)) as connection:
        [records] = connection.execute("SELECT count(ended_at) FROM interceptions").fetchone()
        # The provider's 1,234 input tokens, without the 1,024 that were cached.
        told = "SELECT count(*) FROM token_usages WHERE (input_tokens, output_tokens) = (210, 321)"
        [usage] = connection.execute(told).fetchone()
    return Counts(records=records, usage=usage)
