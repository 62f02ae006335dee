"""The pages in a real browser, Debian's Chromium, where there is one."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.consoles import Console, console
from tests.e2e.waiting import PATIENCE
from tests.stores import interception, prompt, sqlite, tokens, tool

CHROMIUM = shutil.which("chromium")
SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    folder = tmp_path_factory.mktemp("console")
    nasty = {"model": SCRIPT, "client": SCRIPT, "client_session_id": SCRIPT}
    with sqlite(folder) as store:
        store.holds(interception("nasty", prompt(prompt=SCRIPT), tool(tool=SCRIPT, input=SCRIPT), tokens(), **nasty))
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
