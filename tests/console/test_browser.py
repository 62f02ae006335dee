"""The pages in a real browser, Debian's Chromium, where there is one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.browser import CHROMIUM, QUIET, browser
from tests.console.consoles import Console, console
from tests.e2e.waiting import PATIENCE
from tests.stores import interception, prompt, sqlite, tokens, tool

SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
LONG = "a_name_that_does_not_end_" * 20
NARROW = 390  # pixels: a telephone's
WIDTH = "document.documentElement.scrollWidth"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    folder = tmp_path_factory.mktemp("console")
    nasty = {"model": SCRIPT, "client": SCRIPT, "client_session_id": SCRIPT}
    with sqlite(folder) as store:
        store.holds(interception("nasty", prompt(prompt=SCRIPT), tool(tool=SCRIPT, input=SCRIPT), tokens(), **nasty))
        store.holds(
            interception("long", prompt(prompt=LONG), tool(tool=LONG, input=LONG), **dict.fromkeys(nasty, LONG))
        )
        with console(folder / "console", store.settings) as running:
            yield running


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/?since=2001-09-09", "Overview"),
        ("/interceptions?since=2001-09-09", "Interceptions"),
        ("/sessions?since=2001-09-09", "Sessions"),
        ("/interceptions/nasty", "Interception nasty"),
    ],
)
def test_nothing_runs_and_nothing_of_ours_is_refused(shared: Console, tmp_path: Path, path: str, title: str) -> None:
    """Of what a page asks for itself its policy must refuse nothing: Chromium would say so."""
    url = f"http://127.0.0.1:{shared.port}{path}"
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={tmp_path}", "--dump-dom", url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert f"<title>{title} · aibridge</title>" in run.stdout
    assert "&lt;script&gt;" in run.stdout
    assert "Content Security Policy" not in run.stderr


def test_no_page_is_wider_than_its_window(shared: Console, tmp_path: Path) -> None:
    """However long a name is, tables alone are scrolled, each by itself."""
    paths = (
        "/?since=2001-09-09",
        "/interceptions?since=2001-09-09",
        "/sessions?since=2001-09-09",
        "/interceptions/nasty",
    )
    with browser(tmp_path) as window:
        for path in (*paths, "/interceptions/long", "/?window=never"):
            window.show(f"http://127.0.0.1:{shared.port}{path}", NARROW)
            assert window.found(WIDTH) <= NARROW, path
