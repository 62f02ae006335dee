"""A worker as `sidecar.app` puts one together, in the test's own process, where its clock and ids are the test's."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from grpc import aio
from pydantic import SecretStr

from sidecar.core.policy import Bounds, Policy, Provider
from sidecar.core.records import Record
from sidecar.ids import Ids
from sidecar.pulse import Pulse
from sidecar.recorder.journal.group_commit import Journal
from sidecar.recorder.journal.migration import migrate
from sidecar.server import Processor
from sidecar.serving import Server, listen
from sidecar.settings.model import ServerKind
from sidecar.telemetry.metrics import NoMetrics
from sidecar.telemetry.metrics.watches import Journaling
from sidecar.telemetry.traces import NoTraces
from tests.contract.peer import PATIENCE, Talk, channel, talk

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
FIRST = "01a0c450-6c00-7000-8000-000000000000"  # the first id of that moment
KEY = "sk-central-0123456789abcdef"
OPENAI = Provider(name="openai", type="openai", base_url="https://api.openai.com/v1", api_key=SecretStr(KEY))
SERVED: ServerKind = "asyncio"  # by which server; a fixture says it
POLICY = Policy(providers={"openai": OPENAI}, bounds=Bounds(request_bytes=8_388_608))


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What a test sees of one."""

    processor: Processor
    journal: Journal
    database: Path
    channel: aio.Channel
    server: Server
    kept: Sequence[asyncio.Future[float]]  # one for each submission
    submitted: asyncio.Event  # there was one

    def stream(self, *metadata: tuple[str, str]) -> Talk:
        """A new stream to it."""
        return talk(self.channel, metadata)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What the journal's file says."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    def ends(self) -> list[tuple[str | None, str | None, int | None]]:
        """Status, error type and HTTP status of every interception; (None, None, None) for an open one."""
        rows = self.rows("SELECT status, error_type, http_status FROM interceptions ORDER BY id")
        return [(row["status"], row["error_type"], row["http_status"]) for row in rows]

    async def settled(self) -> None:
        """No stream is open, and what they left is on the disk."""
        async with asyncio.timeout(PATIENCE):
            await self.processor.idle.wait()
            await asyncio.gather(*self.kept)


@contextmanager
def locked(database: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else writes, and takes his time: until he rolls back, nobody else can."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    policy: Policy = POLICY,
    start_timeout: float = 10.0,
    end_timeout: float = 10.0,
    inflight_bytes: int = 2**40,
) -> AsyncIterator[Worker]:
    """The timeouts are the journal's; where a test does not lower them, they are never reached."""
    database = folder / "aibridge.db"
    if not database.exists():
        migrate(database)
    ids = Ids(lambda: NOW, repeat(0))
    journal = Journal(database, worker="w:0", new_id=ids, now=lambda: NOW, watch=Journaling(NoMetrics(), None))
    journal.open(asyncio.get_running_loop())
    kept: list[asyncio.Future[float]] = []
    submitted = asyncio.Event()

    def submit(records: Sequence[Record]) -> asyncio.Future[float]:
        kept.append(journal.submit(records))
        submitted.set()
        return kept[-1]

    processor = Processor(
        policy=policy,
        submit=submit,
        now=lambda: NOW,
        new_id=ids,
        traces=NoTraces(),
        pulse=Pulse(lambda: 0.0),
        verdict="allow",
        start_timeout=start_timeout,
        end_timeout=end_timeout,
        inflight_bytes=inflight_bytes,
        pending=lambda: journal.pending_bytes,
        is_full=lambda: False,
    )
    server = await listen(processor, folder / "s", SERVED)
    try:
        async with channel(f"unix:{folder}/s") as opened:
            yield Worker(
                processor=processor,
                journal=journal,
                database=database,
                channel=opened,
                server=server,
                kept=kept,
                submitted=submitted,
            )
    finally:
        await server.stop(0)
        assert journal.close(10.0) == 0
