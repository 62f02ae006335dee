"""Every page, from a real process over each kind of database."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from sidecar.recorder.postgres import store as postgres
from sidecar.recorder.postgres.store import PostgresStore
from sidecar.settings import Recorder, Settings
from tests.console.consoles import Console, console
from tests.postgres import Postgres
from tests.stores import KINDS, Database, interception, opened, prompt, sqlite, thought, tokens, tool

SCRIPT = "<script>alert('x')</script>"
ATTRIBUTE = '"><img src=x onerror=alert(1)>'


def sample(number: int) -> str:
    return f"2001-09-09T02:{number // 60:02}:{number % 60:02}.000000Z"


@pytest.fixture(scope="module", params=KINDS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Over a store that nobody changes."""
    folder = tmp_path_factory.mktemp("console")
    opening = sqlite(folder) if request.param == "sqlite" else postgresql(request.getfixturevalue("postgres"))
    with opening as store:
        fill(store)
        with console(folder / "console", store.settings) as running:
            yield running
            assert running.stop() == 0


@contextmanager
def postgresql(server: Postgres) -> Iterator[Database]:
    with server.database() as url:
        recorder = Recorder(url=url)
        postgres.migrate(recorder)
        with closing(PostgresStore(recorder)) as store:
            yield Database(settings=Settings(recorder=recorder), store=store)


def fill(store: Database) -> None:
    # Apart from the other records' session and actor, which the pages' tests count.
    other = {"initiator_id": "bob", "client_session_id": "busy"}
    many = [interception(f"many-{number:03}", **other, started_at=sample(number)) for number in range(120)]
    call = tool(input='{"command":"ls"}', tool_call_id="call_7")
    nasty = {"initiator_id": "eve", "model": SCRIPT, "client": ATTRIBUTE, "client_session_id": ATTRIBUTE}
    store.holds(
        *many,
        interception("first", prompt(prompt="list it"), tokens(), call, thought(content="I wonder")),
        interception("second", correlating_tool_call_id="call_7", started_at="2001-09-09T01:46:50.000000Z"),
        interception("nasty", prompt(prompt=SCRIPT), tool(tool=ATTRIBUTE, input=SCRIPT), tokens(), **nasty),
        interception("broken", initiator_id="carol", status="failed", error_type="server_error", error_message="500"),
        opened("still", initiator_id="dora"),
    )


def test_the_overview_counts_and_tells_costs(shared: Console) -> None:
    page = shared.dated("/")
    assert page.status == 200
    assert "<dt>Requests</dt><dd>125</dd>" in page.text
    assert "<dt>Failed</dt><dd>1</dd>" in page.text
    assert "<dt>Open</dt><dd>1</dd>" in page.text
    assert page.text.count("<svg") == 4
    assert "The same as a table" in page.text
    assert "genai-prices" in page.text


def test_an_overview_without_records_says_so(shared: Console) -> None:
    page = shared.get("/?window=1h")
    assert page.status == 200
    assert "Nothing was recorded." in page.text


@pytest.mark.parametrize(
    ("names", "requests"),
    [
        ({"actor": "alice"}, 2),
        ({"actor": "bob"}, 120),
        ({"model": SCRIPT}, 1),
        ({"client": ATTRIBUTE}, 1),
        ({"status": "failed"}, 1),
        ({"status": "open"}, 1),
        ({"actor": "nobody"}, 0),
        ({"provider": "openai"}, 125),
    ],
)
def test_filters_choose(shared: Console, names: dict[str, str], requests: int) -> None:
    assert f"<dt>Requests</dt><dd>{requests}</dd>" in shared.dated("/", **names).text


def test_the_pages_of_a_list_hold_everything_once_newest_first(shared: Console) -> None:
    found = walk(shared, "/interceptions", actor="bob")
    assert found == [f"many-{number:03}" for number in reversed(range(120))]


def test_the_pages_of_a_session_hold_everything_once_in_order(shared: Console) -> None:
    found = walk(shared, "/session", actor="bob", session="busy")
    assert found == [f"many-{number:03}" for number in range(120)]


def walk(console: Console, path: str, **asked: str) -> list[str]:
    """The ids on all pages, from link to link."""
    page = console.dated(path, **asked)
    found: list[str] = []
    while True:
        assert page.status == 200
        found += [part.partition('"')[0] for part in page.text.split('<tr id="i-')[1:]]
        if (link := page.link("Next page")) is None:
            return found
        page = console.get(link)


def test_sessions_lead_to_their_interceptions(shared: Console) -> None:
    page = shared.dated("/sessions", actor="alice")
    link = page.link("session-1")
    assert link is not None
    session = shared.get(link)
    assert 'id="i-first"' in session.text
    assert '<a href="#i-first">an earlier one</a>' in session.text


def test_one_interception_tells_all_of_it(shared: Console) -> None:
    page = shared.get("/interceptions/first")
    told = ("list it", "I wonder", "shell", "&#34;command&#34;", "0af7651916cd43dd8448eb211c80319c", "gpt-5-2026")
    assert [one for one in told if one not in page.text] == []
    assert '<a href="/interceptions/second">' in page.text
    assert '<a href="/interceptions/first">' in shared.get("/interceptions/second").text


def test_an_error_and_an_open_prompt_are_told(shared: Console) -> None:
    assert "failed: server_error" in shared.get("/interceptions/broken").text
    assert "<pre>hello</pre>" in shared.get("/interceptions/still").text


@pytest.mark.parametrize("path", ["/", "/interceptions", "/sessions", "/interceptions/nasty"])
def test_what_was_recorded_is_text(shared: Console, path: str) -> None:
    page = shared.dated(path, actor="eve")
    assert page.status == 200
    assert "&lt;" in page.text or "&gt;" in page.text
    assert "<script" not in page.text
    assert "<img" not in page.text


def test_what_is_asked_for_is_text(shared: Console) -> None:
    page = shared.dated("/session", actor=SCRIPT, session=ATTRIBUTE)
    assert "<script" not in page.text
    assert "<img" not in page.text


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("window=2y", "window"),
        ("since=yesterday", "since"),
        ("status=odd", "status"),
        ("actr=alice", "actr"),
        ("actor=a&actor=b", "actor"),
        ("since=2020-01-02&until=2020-01-01", "since"),
        ("actor=%00", "actor"),
        ("after=nonsense", "after"),
        ("after=%5B%220001-01-01T00%3A00%3A00%2B14%3A00%22%2C%22x%22%5D", "after"),
    ],
)
def test_a_bad_parameter_is_named(shared: Console, query: str, parameter: str) -> None:
    page = shared.get(f"/interceptions?{query}")
    assert page.status == 400
    assert f'<p role="alert">{parameter}: expected' in page.text


@pytest.mark.parametrize("path", ["/interceptions/none", "/interceptions/%00", "/nowhere", "/static/console.css"])
def test_what_is_not_there_is_not_found(shared: Console, path: str) -> None:
    assert shared.get(path).status == 404


def test_a_session_needs_its_name_and_whose_it_is(shared: Console) -> None:
    assert shared.dated("/session", session="busy").status == 400
    assert shared.dated("/session", actor="bob").status == 400


def test_nobody_reads_in_the_log_what_was_asked_for(shared: Console) -> None:
    shared.dated("/", actor="canary-of-the-log")
    assert "canary-of-the-log" not in shared.output
