"""A store that cannot be read is a page that says so, and nothing of what is in it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.console.consoles import Console, console
from tests.stores import Database, interception, prompt, sqlite

PAGES = ("/?window=1h", "/interceptions?window=1h", "/sessions?window=1h", "/interceptions/one")
HIDDEN = "a prompt that nobody may read"
PAGE = 4096  # bytes of SQLite's


@pytest.fixture
def held(tmp_path: Path) -> Database:
    with sqlite(tmp_path) as store:
        store.holds(*(interception(f"one-{number}", prompt(prompt=HIDDEN)) for number in range(50)))
    with closing(sqlite3.connect(store.settings.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return store


def shows_trouble(running: Console, path: str) -> None:
    page = running.get(path)
    assert page.status == 503
    assert "The records cannot be read now" in page.text
    assert "Traceback" not in page.text + running.output
    assert HIDDEN not in page.text + running.output


@pytest.mark.parametrize("kept", [0, PAGE], ids=["whole", "all-but-the-first-page"])
def test_a_corrupt_store_is_told(held: Database, tmp_path: Path, kept: int) -> None:
    whole = held.settings.database.read_bytes()
    held.settings.database.write_bytes(whole[:kept] + b"\x55" * (len(whole) - kept))
    with console(tmp_path / "console", held.settings) as running:
        for path in PAGES:
            shows_trouble(running, path)
        assert running.get("/console.css").status == 200


def test_a_damaged_table_is_told(held: Database, tmp_path: Path) -> None:
    """What is damaged is found while a page is made: the schema is still good."""
    with closing(sqlite3.connect(held.settings.database)) as connection:
        roots = connection.execute("SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'interceptions'").fetchall()
    with held.settings.database.open("r+b") as file:
        for (root,) in roots:
            file.seek((root - 1) * PAGE)
            file.write(b"\x55" * PAGE)
    with console(tmp_path / "console", held.settings) as running:
        for path in PAGES:
            shows_trouble(running, path)


def test_a_locked_store_is_told_and_shown_again_later(held: Database, tmp_path: Path) -> None:
    with console(tmp_path / "console", held.settings) as running:
        with closing(sqlite3.connect(held.settings.database, isolation_level=None)) as locking:
            locking.execute("PRAGMA locking_mode = EXCLUSIVE")
            locking.execute("BEGIN EXCLUSIVE")
            shows_trouble(running, PAGES[0])
        assert running.get(PAGES[0]).status == 200
