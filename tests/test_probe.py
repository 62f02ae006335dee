"""The probe against real bridges, of which some have something wrong with them."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import run

import pytest
from openai import OpenAI
from rich.console import Console

from examples import model
from examples.answers import Answer, Seen, error_answer, json_answer, stream_answer
from examples.events import events
from examples.provider import Provider, ThreadedProvider
from sidecar.core.errors import BadSetting, JournalUnavailable
from sidecar.core.privacy import Gate
from sidecar.probe import NoBridge, probe
from sidecar.probe.asks import ASKS
from sidecar.probe.asks import Seen as Answered
from sidecar.probe.facts import Facts, differences, expected, recorded
from sidecar.probe.table import Outcome, table
from sidecar.recorder.journal.migration import migrate
from sidecar.settings import Identity, Recorder, Settings, load
from tests.e2e.bridges import CENTRAL_KEY, Bridge, bridge, free_ports


def answer(seen: Seen) -> Answer:  # noqa: PLR0911 - one for each way to be wrong
    """What the provider says, by the first segment of the path it is reached under."""
    request = json.loads(seen.body)
    match seen.path.split("/")[1]:
        case "refusing":
            return error_answer(401, f"Bad key: {CENTRAL_KEY}", "invalid_request_error", "invalid_api_key")
        case "toolless":
            whole = model.response({**request, "tools": []})
            return stream_answer(events(whole)) if request.get("stream") else json_answer(whole)
        case "short" if request.get("stream"):
            return stream_answer(list(events(model.response(request)))[:4])
        case "erring" if request.get("stream"):
            first = next(events(model.response(request)))
            return stream_answer([first, {"type": "error", "error": {"type": "server_error", "message": CENTRAL_KEY}}])
        case "garbled" if request.get("tools"):
            whole = model.response(request)
            whole["output"][0]["arguments"] = "Paris, please"
            return json_answer(whole)
        case "failing":
            failed = {**model.response({**request, "tools": []}), "status": "failed"}
            return stream_answer(events(failed)) if request.get("stream") else json_answer(failed)
        case "odd":
            return json_answer([1]) if request.get("stream") else Answer(content_type="text/html", body=b"<p>hello")
    return model.answer(replace(seen, target="/v1/responses"), None, 0)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, nobody: str) -> Iterator[Bridge]:
    """A bridge whose providers have each their own way to be wrong, except the first."""
    names = ("right", "refusing", "toolless", "short", "erring", "failing", "odd", "garbled")
    with ThreadedProvider(Provider(answer, pace=0)) as provider:
        providers = [{"name": name, "base_url": f"{provider.url}/{name}/v1", "api_key": CENTRAL_KEY} for name in names]
        providers.append({"name": "keyless", "base_url": f"{provider.url}/right/v1"})
        providers.append({"name": "gone", "base_url": f"{nobody}/v1", "api_key": CENTRAL_KEY})
        with bridge(tmp_path_factory.mktemp("probed"), provider.url, providers=providers) as started:
            yield started


@pytest.fixture
def settings(running: Bridge, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("COLUMNS", "200")
    # Neither is for the bridge on this machine.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    return load(running.folder / "aibridge.toml")


def test_sound_bridge_passes(settings: Settings, running: Bridge, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything came back, and each record says what the client saw."""
    assert probe(settings, model="gpt-5", provider=None, actor="first")
    shown = capsys.readouterr().out
    assert f"right at {running.url}, gpt-5 asked by first" in shown
    assert "4 of 4 as they should be" in shown
    assert "✗" not in shown
    assert 'weather {"city": "example"}' in shown
    assert "✓ 501 background requests are currently not supported by AI Bridge" in shown
    assert "✓ failed: rejected" in shown
    rows = running.rows("SELECT * FROM interceptions WHERE initiator_id = 'first' ORDER BY id")
    assert [(row["streaming"], row["credential_kind"], row["http_status"]) for row in rows] == [
        (0, "centralized", 200),
        (1, "centralized", 200),
        (0, "centralized", 200),
        (0, "centralized", 501),
    ]


def test_records_that_are_forwarded_at_once_are_found_all_the_same(tmp_path: Path, fresh_database: str) -> None:
    with (
        ThreadedProvider(Provider(answer, pace=0)) as provider,
        bridge(tmp_path, provider.url, recorder={"url": fresh_database}) as running,
    ):
        settings = load(running.folder / "aibridge.toml")
        assert all(probe(settings, model="gpt-5", provider=None, actor="ada") for _ in range(5))


@pytest.mark.parametrize(
    ("provider", "came_back", "good"),
    [
        ("refusing", "✗ 401 invalid_request_error invalid_api_key", 1),
        ("toolless", "✗ Envoy carries the bytes", 3),
        ("short", "✗ an answer without a response", 3),
        ("erring", "✗ an error in the answer, or one that cannot be read", 3),
        ("failing", "✗ the response failed", 1),
        ("odd", "✗ an answer without a response", 1),
        ("keyless", "✗ 500 no key for provider keyless: set providers.api_key or api_key_file", 0),
    ],
)
def test_what_is_wrong_is_told(
    settings: Settings, capsys: pytest.CaptureFixture[str], provider: str, came_back: str, good: int
) -> None:
    """And no key is, whoever may have said it."""
    assert not probe(settings, model="gpt-5", provider=provider, actor="ada")
    shown = capsys.readouterr().out
    assert came_back in shown
    assert f"{good} of 4 as they should be" in shown
    assert CENTRAL_KEY not in shown


@pytest.mark.parametrize("kept", [{"content": "none"}, {"content": "usage"}, {"mask": ["exam.le", "(?i)what"]}])
def test_what_may_not_be_known_is_not_missed(kept: dict[str, object], tmp_path: Path) -> None:
    with ThreadedProvider(Provider(answer, pace=0)) as provider:
        providers = [{"name": "right", "base_url": f"{provider.url}/right/v1", "api_key": CENTRAL_KEY}]
        recorder = {"url": f"sqlite:///{tmp_path}/records.db", **kept}
        with bridge(tmp_path, provider.url, providers=providers, recorder=recorder) as started:
            assert probe(load(started.folder / "aibridge.toml"), model="gpt-5", provider=None, actor="ada")


def test_tool_call_that_is_no_json_is_recorded_as_it_stands(settings: Settings) -> None:
    assert probe(settings, model="gpt-5", provider="garbled", actor="ada")


def test_answer_that_does_not_come_is_told(nobody: str) -> None:
    """Nobody listens, or whoever listens takes too long."""
    with OpenAI(base_url=nobody, api_key="none", max_retries=0) as client:
        seen = ASKS[0].seen(client.responses, "gpt-5", {})
    assert seen == Answered(http_status=None, error="the connection broke")
    slow = Answer(body=b"{}", hold=-1)
    with (
        ThreadedProvider(Provider(lambda _: slow)) as provider,
        OpenAI(base_url=provider.url, api_key="none", max_retries=0, timeout=0.1) as client,
    ):
        seen = ASKS[0].seen(client.responses, "gpt-5", {})
    assert seen == Answered(http_status=None, error="no answer in time")


def test_a_journal_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="there is no such file"):
        recorded(tmp_path / "gone.db", "a request id")


def test_record_of_an_answer_that_never_came_agrees(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """The provider is gone, which is not the journal's fault; the prompt it has kept is none either."""
    assert not probe(settings, model="gpt-5", provider="gone", actor="ada")
    shown = capsys.readouterr().out
    assert shown.count("✗ 503 the provider could not be reached") == 3
    assert shown.count("✓ failed: disconnected") == 3


def test_record_that_is_not_there_is_told(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bridge writes its records somewhere else than these settings say."""
    elsewhere = tmp_path / "elsewhere.db"
    migrate(elsewhere)
    moved = settings.model_copy(update={"recorder": Recorder(url=f"sqlite:///{elsewhere}")})
    assert not probe(moved, model="gpt-5", provider=None, actor="ada")
    shown = capsys.readouterr().out
    assert shown.count("✗ there is none") == 4
    assert "0 of 4 as they should be" in shown


def test_journal_that_is_not_there_is_an_error(settings: Settings, tmp_path: Path) -> None:
    moved = settings.model_copy(update={"recorder": Recorder(url=f"sqlite:///{tmp_path}/no.db")})
    with pytest.raises(JournalUnavailable, match="there is no such file"):
        probe(moved, model="gpt-5", provider=None, actor="ada")


def test_default_actor_asks_where_nobody_else_is_named(settings: Settings, running: Bridge) -> None:
    named = settings.model_copy(update={"identity": Identity(default_actor="grace")})
    assert probe(named, model="gpt-5", provider=None, actor=None)
    assert running.rows("SELECT count(*) AS n FROM interceptions WHERE initiator_id = 'grace'") == [{"n": 4}]


def test_login_name_asks_without_a_default_actor(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe(settings, model="gpt-5", provider=None, actor=None)
    login = run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert f"asked by {login}" in capsys.readouterr().out


def test_bridge_that_listens_everywhere_is_reached_on_loopback(settings: Settings) -> None:
    everywhere = settings.model_copy(update={"listen": f"0.0.0.0:{settings.listen.rpartition(':')[2]}"})
    assert probe(everywhere, model="gpt-5", provider=None, actor="ada")


@pytest.mark.parametrize(
    ("listen", "url"),
    [("127.0.0.1", "http://127.0.0.1:"), ("[::]", r"http://\[::1\]:"), ("0.0.0.0", "http://127.0.0.1:")],  # noqa: S104 - whom nobody binds,
)
def test_bridge_that_is_not_there_is_one_line(listen: str, url: str) -> None:
    port, _ = free_ports()
    nobody = Settings(listen="127.0.0.1:1").model_copy(update={"listen": f"{listen}:{port}"})
    with pytest.raises(NoBridge, match=f"^no bridge at {url}{port} .*; start one with `aibridge-sidecar up`$"):
        probe(nobody, model="gpt-5", provider=None, actor="ada")


def test_unknown_provider_and_unfit_actor_are_wrong_settings(settings: Settings) -> None:
    with pytest.raises(BadSetting, match=r"^--provider = 'nope': no such provider; allowed: right, refusing, toolless"):
        probe(settings, model="gpt-5", provider="nope", actor="ada")
    for actor in ("ada\r\nx-evil: 1", " ada", "Ağa"):
        with pytest.raises(BadSetting, match=r"^--actor = .*: allowed: printable ASCII"):
            probe(settings, model="gpt-5", provider=None, actor=actor)


def test_command_says_by_its_exit_status_how_it_went(running: Bridge) -> None:
    command = [sys.executable, "-m", "sidecar", "probe", "--config", str(running.folder / "aibridge.toml")]
    right = run([*command, "--model", "gpt-5"], capture_output=True, text=True, check=False)
    wrong = run([*command, "--model", "gpt-5", "--provider", "refusing"], capture_output=True, text=True, check=False)
    unknown = run([*command, "--model", "gpt-5", "--provider", "nope"], capture_output=True, text=True, check=False)
    assert (right.returncode, wrong.returncode, unknown.returncode) == (0, 1, 2)
    assert (right.stderr, wrong.stderr) == ("", "")
    assert unknown.stderr.count("\n") == 1


FACTS = Facts(
    actor="ada",
    model="gpt-5",
    streaming=False,
    status="completed",
    http_status=200,
    prompts=("Reply with one word: pong",),
    tokens=(3, 46, 1, 0),
    tools=(("weather", "call_1", {"city": "Paris"}),),
)


def test_record_that_agrees_has_no_differences() -> None:
    assert differences(FACTS, replace(FACTS, error_type="unknown")) == ()


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("actor", "eve", "actor: 'eve', but the client saw 'ada'"),
        ("status", "open", "status: 'open', but the client saw 'completed'"),
        ("tokens", (), "tokens: (), but the client saw (3, 46, 1, 0)"),
        ("prompts", (), "prompts: (), but the client saw ('Reply with one word: pong',)"),
        ("tools", (), "tools: (), but the client saw (('weather', 'call_1', {'city': 'Paris'}),)"),
    ],
)
def test_each_fact_is_compared(field: str, value: object, line: str) -> None:
    assert differences(FACTS, replace(FACTS, **{field: value})) == (line,)


def test_what_the_client_cannot_know_is_not_compared() -> None:
    """Where no answer came, the journal may know the status, and the prompt may be kept or not."""
    seen = expected(ASKS[0], Answered(http_status=None, error="no answer in time"), "ada", "gpt-5", Gate())
    record = replace(FACTS, status="failed", error_type="timeout", http_status=504, tokens=(), tools=())
    assert differences(seen, record) == ()


def test_table_cannot_be_used_to_steer_the_terminal() -> None:
    """A provider's words are text: no escapes, no markup."""
    seen = Answered(http_status=500, error="\x1b[2J[red]500[/red]")
    outcome = Outcome(name="JSON", seen=seen, right=False, record=FACTS, faults=())
    console = Console(width=100, record=True, quiet=False)
    console.print(table("[b]title\x07", [outcome]))
    shown = console.export_text()
    assert "✗ \ufffd[2J[red]500[/red]" in shown
    assert "[b]title\ufffd" in shown
