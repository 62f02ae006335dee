"""How long the console's pages take over a large store: python -m bench.console [--count N] [--kind KIND].

The store is filled by its own database, since a million records by way of the recorder would take the afternoon.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlencode

import click
import psycopg
from rich.console import Console as Terminal

from bench.tables import Table, number
from sidecar.console.filters import next_to
from sidecar.recorder.journal import migration
from sidecar.recorder.postgres import store as postgres
from sidecar.recorder.postgres.months import add, following
from sidecar.settings import Recorder, Settings
from tests.console.consoles import Console, console
from tests.postgres import Postgres

KINDS: Final = ("sqlite", "postgresql")
_DAYS: Final = 60
_SPAN: Final = _DAYS * 86_400  # seconds
_ACTORS: Final = 50
_SESSION: Final = 20  # interceptions of one, those of the other actors in between
_NAME: Final = "bench-{:09}"
# Of one i from 0 on: its second, and how it is spelt in each database.
_SECOND: Final = f"({{since}} + i * {_SPAN} / {{count}})"
_MOMENT: Final = {
    "sqlite": f"strftime('%Y-%m-%dT%H:%M:%S', {_SECOND} + {{later}}, 'unixepoch') || '.000000Z'",
    "postgresql": f"to_timestamp({_SECOND} + {{later}})",
}
_FALSE: Final = {"sqlite": "0", "postgresql": "false"}
_ID: Final = "'bench-' || substr('00000000' || i, length('00000000' || i) - 8)"
_FILL: Final = (
    f"""INSERT INTO interceptions (id, initiator_id, actor_metadata, provider, provider_name, model, streaming, client,
    client_session_id, user_agent, credential_kind, credential_hint, request_path, started_at, ended_at, status,
    http_status, request_id, worker)
    SELECT {_ID}, 'user-' || (i % {_ACTORS}) || '@example.com', '{{{{}}}}', 'openai', 'openai',
    CASE i / 7 % 4 WHEN 0 THEN 'gpt-5' WHEN 1 THEN 'gpt-5-mini' WHEN 2 THEN 'gpt-4.1' ELSE 'in-house' END, {{false}},
    CASE i % {_ACTORS} % 3 WHEN 0 THEN 'Codex' WHEN 1 THEN 'Claude Code' ELSE 'Unknown' END,
    'session-' || (i / {_ACTORS * _SESSION}) || '-' || (i % {_ACTORS}), 'codex_cli_rs/0.60.1 (Ubuntu 24.4.0; x86_64)',
    'centralized', 'sk-b...0000', '/openai/v1/responses', {{at}}, {{done}},
    CASE i % 97 WHEN 0 THEN 'failed' ELSE 'completed' END, 200, 'request-' || i, 'worker-0' FROM series""",  # noqa: S608 - figures of this file
    f"""INSERT INTO token_usages (id, interception_id, msg_id, input_tokens, output_tokens, cache_read_input_tokens,
    cache_write_input_tokens, extra, provider_model, service_tier, created_at)
    SELECT {_ID} || '-2', {_ID}, 'resp_' || i, 200 + i % 1000, 300 + i % 500, 1024, 0, '{{{{}}}}', NULL, 'default',
    {{done}} FROM series""",  # noqa: S608 - figures of this file
    f"""INSERT INTO user_prompts (id, interception_id, msg_id, prompt, created_at)
    SELECT {_ID} || '-1', {_ID}, 'resp_' || i, 'What does the sidecar keep of a request that nobody answers? ' || i,
    {{done}} FROM series""",  # noqa: S608 - figures of this file
    f"""INSERT INTO tool_usages (id, interception_id, msg_id, tool_call_id, kind, tool, input, injected, created_at)
    SELECT {_ID} || '-3', {_ID}, 'resp_' || i, 'call_' || i, 'function_call', 'shell', '["bash","-lc","ls"]', {{false}},
    {{done}} FROM series""",  # noqa: S608 - figures of this file
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Seconds that a page took: the first time, and in the middle of the others."""

    page: str
    status: int
    first: float
    usual: float


@contextmanager
def filled(kind: str, folder: Path, count: int, until: datetime) -> Iterator[Settings]:
    """A store with so many interceptions, evenly over the 60 days up to `until`, each with three children."""
    with ExitStack() as running:
        if kind == "sqlite":
            recorder = Recorder(url=f"sqlite:///{folder}/records.db")
            migration.migrate(folder / "records.db")
            with closing(sqlite3.connect(folder / "records.db")) as database, database:
                for statement in statements(kind, count, until):
                    database.execute(statement)
        else:
            url = running.enter_context(Postgres(shared_buffers="256MB", max_wal_size="4GB")).create()
            recorder = Recorder(url=url)
            postgres.migrate(recorder)
            with psycopg.connect(url) as server:
                add(lambda text: _rows(server, text), _months(until))
                for statement in statements(kind, count, until):
                    server.execute(statement.encode())
        yield Settings(runtime_dir=folder / "run", recorder=recorder)


def statements(kind: str, count: int, until: datetime) -> Iterator[str]:
    """What fills one."""
    since = int(until.timestamp()) - _SPAN
    at, done = (_MOMENT[kind].format(since=since, count=count, later=later) for later in (0, 1))
    limit = f"SELECT CAST(0 AS bigint) UNION ALL SELECT i + 1 FROM series WHERE i < {count - 1}"  # noqa: S608 - a number
    for statement in _FILL:
        head, _, rest = statement.partition(")\n    SELECT")
        series = f"WITH RECURSIVE series(i) AS ({limit})"
        yield f"{head}) {series} SELECT{rest}".format(at=at, done=done, false=_FALSE[kind])
    yield "ANALYZE"


def pages(count: int, until: datetime) -> Mapping[str, str]:
    """What is looked at, and its URL."""
    end, month = _told(until), _told(until - timedelta(days=30))
    span = {"since": month, "until": end}
    late = until - timedelta(days=29, hours=20)
    session = {"session": f"session-{count // 2 // (_ACTORS * _SESSION)}-7", "actor": "user-7@example.com"}
    long = {"since": _told(until - timedelta(days=_DAYS)), "until": end}
    return {
        "overview, 24 hours": _url("/", {"since": _told(until - timedelta(days=1)), "until": end}),
        "overview, 30 days": _url("/", span),
        "sessions, 30 days, first page": _url("/sessions", span),
        "sessions, 30 days, late page": _url("/sessions", {**span, "after": next_to(late, "~", "~")}),
        "list, 30 days, first page": _url("/interceptions", span),
        "list, 30 days, late page": _url("/interceptions", {**span, "after": next_to(late, "~")}),
        "list of an actor, 30 days, late page": _url(
            "/interceptions", {**span, "actor": session["actor"], "after": next_to(late, "~")}
        ),
        "one session, in 60 days": _url("/session", {**long, **session}),
        "one interception": f"/interceptions/{_NAME.format(count // 2)}",
    }


def timed(running: Console, name: str, url: str, rounds: int) -> Timed:
    """One page, looked at so many times, and once before."""
    taken, status = [], 0
    for _ in range(rounds + 1):
        began = time.perf_counter()
        status = running.get(url).status
        taken.append(time.perf_counter() - began)
    return Timed(page=name, status=status, first=taken[0], usual=median(taken[1:]))


def table(kind: str, count: int, found: list[Timed]) -> Table:
    """All of one store."""
    rows = tuple((one.page, str(one.status), number(one.first), number(one.usual)) for one in found)
    return Table(title=f"Console: {kind}, {count:,} interceptions", head=("", "status", "first s", "s"), rows=rows)


def _url(path: str, parameters: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(parameters)}"


def _told(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def _rows(server: psycopg.Connection, text: str) -> list[tuple[object, ...]]:
    cursor = server.execute(text.encode())
    return cursor.fetchall() if cursor.description else []


def _months(until: datetime) -> list[object]:
    month, found = (until - timedelta(days=_DAYS)).date().replace(day=1), []
    while month <= until.date():
        found.append(month)
        month = following(month)
    return found


@click.command()
@click.option("--count", type=click.IntRange(1000), default=1_000_000, show_default=True, help="Interceptions.")
@click.option("--kind", multiple=True, type=click.Choice(KINDS), help="This kind of store alone.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Looks at each page.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=Path("/var/tmp"))  # noqa: S108 - a disk
def main(*, count: int, kind: tuple[str, ...], rounds: int, folder: Path) -> None:
    """Fill a store of each kind, look at the pages, and print how long they took."""
    terminal, until = Terminal(width=100), datetime.now(UTC).replace(microsecond=0)
    for name in kind or KINDS:
        with (
            tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made,
            filled(name, Path(made), count, until) as settings,
            console(Path(made) / "console", settings) as running,
        ):
            found = [timed(running, page, url, rounds) for page, url in pages(count, until).items()]
            terminal.print(table(name, count, found).shown())


if __name__ == "__main__":
    main()
