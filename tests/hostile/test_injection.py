"""Every recorded field says something that means much to logs, SQL, HTML, terminals and file systems: it stays text."""

import io
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest
from rich.console import Console

from examples.provider import ThreadedProvider
from sidecar.report import table, totals
from sidecar.settings import Recorder, Settings
from tests.console.consoles import console
from tests.e2e.bridges import Bridge
from tests.e2e.connections import ask
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually
from tests.hostile.attacked import RECORDS, is_well, lines
from tests.hostile.evil import EVIL, Evil, header

TABLES = {"alembic_version", "interceptions", "token_usages", "user_prompts", "tool_usages", "model_thoughts"}
ID_BYTES = 1024  # of names and ids


@pytest.fixture(scope="module")
def told(victim: Bridge, provider: ThreadedProvider, script: Script) -> Iterator[Mapping[str, str]]:
    """The ids of the interceptions in which each of them was said everywhere."""
    ids = {}
    for number, (kind, text) in enumerate(EVIL.items()):
        evil = Evil(case=f"evil-{number}", text=text)
        script[evil.case] = evil.answer
        assert ask(victim.port, evil.case, evil.body, *evil.headers).status == 200
        (row,) = victim.rows("SELECT id FROM interceptions WHERE request_id LIKE ?", f"{evil.case} %")
        ids[kind] = row["id"]
    yield ids
    is_well(victim, provider, script, "evil-after")


def stored(text: str) -> str:
    return text.replace("\0", "\ufffd")


@pytest.mark.parametrize("kind", EVIL)
def test_it_is_recorded_as_it_was_said(victim: Bridge, told: Mapping[str, str], kind: str) -> None:
    """Of names and ids the beginning."""
    text, plain = stored(EVIL[kind]), header(EVIL[kind])
    name = text[:ID_BYTES] if text.isascii() else text
    (row,) = victim.rows("SELECT * FROM interceptions WHERE id = ?", told[kind])
    assert (row["initiator_id"], row["user_agent"], row["model"]) == (plain, f"claude {plain}", name)
    session = None if kind == "a long name" else name.strip()  # it is no JSON any more once it is cut
    assert (row["client_session_id"], row["provider_request_id"]) == (session, plain)
    assert (row["status"], row["http_status"], row["provider_name"]) == ("completed", 200, "openai")
    for column, of in (("prompt", "user_prompts"), ("content", "model_thoughts")):
        found = victim.rows(f"SELECT {column} FROM {of} WHERE interception_id = ?", told[kind])  # noqa: S608 - ours
        assert [one[column] for one in found] == [text]
    call, custom, _ = victim.rows("SELECT * FROM tool_usages WHERE interception_id = ? ORDER BY id", told[kind])
    assert (call["tool"], call["item_id"], call["tool_call_id"]) == (name, name, name)
    assert stored(json.loads(custom["input"])) == text
    (usage,) = victim.rows("SELECT * FROM token_usages WHERE interception_id = ?", told[kind])
    assert (usage["provider_model"], usage["service_tier"]) == (name, name)


def test_the_tables_are_what_they_were(victim: Bridge, told: Mapping[str, str]) -> None:
    with closing(sqlite3.connect(victim.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert found >= TABLES
    assert victim.rows("SELECT id FROM interceptions WHERE initiator_id = 'forged by SQL'") == []
    assert len(victim.rows("SELECT id FROM interceptions WHERE request_id LIKE 'evil-%'")) == len(EVIL) == len(told)


@pytest.mark.parametrize("kind", EVIL)
def test_it_makes_no_log_line_of_its_own(victim: Bridge, told: Mapping[str, str], kind: str) -> None:
    """Each line is one object, with the whole text as a value."""
    said = lines(victim.log)
    assert [line for line in said if line["event"] == "forged" or "forged" in line] == []
    found = [line for line in said if line["event"] == RECORDS and line["interception_id"] == told[kind]]
    kinds = ["interception_start", "token_usage", "prompt_usage", *["tool_usage"] * 3, "model_thought"]
    assert sorted(line["record_type"] for line in found) == sorted([*kinds, "interception_end"])
    assert {line["prompt"] for line in found if "prompt" in line} == {stored(EVIL[kind])}


@pytest.mark.parametrize("kind", EVIL)
def test_it_makes_no_access_log_line_of_its_own(victim: Bridge, told: Mapping[str, str], kind: str) -> None:
    def found() -> list[object]:
        return [line["actor"] for line in lines(victim.run / "access.log") if line["interception"] == told[kind]]

    assert eventually(found, "its line") == [header(EVIL[kind])]


def test_no_byte_of_a_log_steers_a_terminal(victim: Bridge, told: Mapping[str, str]) -> None:
    assert told
    written = victim.log.read_bytes() + (victim.run / "access.log").read_bytes()
    assert {byte for byte in written if byte < 0x20 or byte == 0x7F} == {ord("\n")}


def test_the_report_shows_it_as_text(victim: Bridge, told: Mapping[str, str]) -> None:
    report = totals(settings(victim))
    assert json.loads(json.dumps(report)) == report
    assert {stored(text)[:ID_BYTES] for text in EVIL.values() if text.isascii()} <= {
        line["name"] for line in report["model"]
    }
    shown = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    shown.print(table(report))
    assert isinstance(shown.file, io.StringIO)
    text = shown.file.getvalue()
    assert "[bold red]forged[/]" in text.replace("\n", "")
    assert {one for one in text if not one.isprintable()} <= {"\n"}
    assert told


def test_the_console_shows_it_as_text(
    victim: Bridge, told: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with console(tmp_path_factory.mktemp("console"), settings(victim)) as running:
        pages = [running.get(path) for path in ("/", "/interceptions", "/sessions")]
        pages += [running.get(f"/interceptions/{one}") for one in told.values()]
        assert {page.status for page in pages} == {200}
        assert running.stop() == 0
    for page in pages:
        assert "<script>" not in page.text
        assert "<img" not in page.text
        assert 'href="javascript:' not in page.text
        assert str(7 * 191) not in page.text
    html = next(page.text for page, kind in zip(pages[3:], told, strict=True) if kind == "html")
    assert "&lt;script&gt;alert(&#39;forged&#39;)&lt;/script&gt;" in html


def settings(running: Bridge) -> Settings:
    return Settings(recorder=Recorder(url=f"sqlite:///{running.database}"))


def test_a_dump_lies_where_dumps_lie_whatever_its_model_is_called(victim: Bridge, told: Mapping[str, str]) -> None:
    dumps = victim.folder / "dumps"

    def found() -> set[str]:
        return {path.name for path in dumps.glob("openai/*/*.txt")}

    wanted = {f"{one}.{side}.txt" for one in told.values() for side in ("request", "response")}
    eventually(lambda: wanted <= found(), "their dumps")
    assert {path.parent.parent.parent for path in dumps.rglob("*.txt")} == {dumps}
    assert {path.name for path in dumps.iterdir()} <= {"openai", "other", "_refused"}
    models = {path.name for path in (dumps / "openai").iterdir()}
    assert len(models) >= len(EVIL)
    assert [name for name in models if not name.isascii() or len(name) > 80 or set(name) & set("/\\:\0")] == []
    assert [path for path in victim.folder.parent.rglob("*forged*") if dumps not in path.parents] == []
