"""Credentials and content are planted everywhere; then everything that was written is searched."""

import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from examples.answers import Answer, error_answer, json_answer
from examples.provider import ThreadedProvider
from tests.e2e.bridges import STOPPED_WITHIN, Bridge, bridge, free_ports, launched, written
from tests.e2e.connections import ask, asking
from tests.e2e.exchanges import EVENT_STREAM, final, streamed, whole
from tests.e2e.processes import children
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

KEY = "sk-canary-central-0123456789abcdef"
CLIENTS_KEY = "sk-canary-client-fedcba9876543210"
CREDENTIALS = (KEY, CLIENTS_KEY, "canary-cookie", "canary-basic", "canary-header", "canary-extra")
# What may stand in the journal, and nowhere else.
CONTENT = ("canary-prompt", "canary-argument", "canary-thought")
# What stands nowhere at all: it is neither a prompt nor a tool's input nor a thought.
UNKEPT = ("canary-query", "canary-answer", "canary-instructions", "canary-message", "canary-broken")
HEADERS = (
    ("cookie", "session=canary-cookie"),
    ("proxy-authorization", "Basic canary-basic"),
    ("x-api-key", "canary-header"),
)
BODY = b'{"model":"aster-2","instructions":"canary-instructions","input":"canary-prompt"}'
PATH = "/openai/v1/responses?key=canary-query"
ADMIN = ["/logging?level=trace", "/logging?paths=ext_proc:debug", "/logging", "/config_dump", "/certs", "/clusters"]
ADMIN += [
    "/runtime_modify?a=b",
    "/quitquitquit",
    "/",
    "/help",
    "/stats/recentlookups",
    "/memory",
    "/cpuprofiler?enable=y",
]
ADMIN += ["/tap", "/drain_listeners", "/reset_counters", "/hot_restart_version", "/server_info", "/init_dump"]
ADMIN += [
    "/listeners",
    "/contention",
    "/heap_dump",
    "/reopen_logs",
    "/allocprofiler?enable=y",
    "/heapprofiler?enable=y",
]
ADMIN += [
    "/ready/../logging?level=trace",
    "/stats/../config_dump",
    "/stats%2f..%2fconfig_dump",
    "//logging?level=trace",
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider, script: Script) -> Iterator[Bridge]:
    """One that has seen every canary there is, in every way in which requests go well or wrong; it still runs."""
    here = f"{provider.url}/v1"
    providers = [
        {"name": "openai", "base_url": here, "api_key": KEY, "extra_headers": {"x-extra": "canary-extra"}},
        {"name": "gone", "base_url": "http://127.0.0.1:1/v1", "api_key": KEY},
    ]
    folder = tmp_path_factory.mktemp("planted")
    with bridge(folder, provider.url, providers=providers, limits={"request_timeout": 3}) as running:
        for plant in (go_well, go_wrong, break_off, kill_a_worker):
            plant(running, provider, script)
        yield running


def go_well(running: Bridge, _: ThreadedProvider, script: Script) -> None:
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c_1",
        "name": "f",
        "arguments": '{"a":"canary-argument"}',
    }
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "canary-thought"}]}
    said = {**final("canary"), "instructions": "canary-instructions"}
    said["output"][0]["content"][0]["text"] = "canary-answer"
    script["canary-well"] = json_answer({**said, "output": [*said["output"], call, thought]})
    assert ask(running.port, "canary-well", BODY, *HEADERS, path=PATH).status == 200
    own = ("authorization", f"Bearer {CLIENTS_KEY}")
    assert ask(running.port, "canary-well", BODY, own, *HEADERS, path=PATH).status == 200
    assert ask(running.port, "canary-well", b"", own, method="GET", path="/openai/v1/models?canary-query").status == 200


def go_wrong(running: Bridge, _: ThreadedProvider, script: Script) -> None:
    for status in (400, 401, 429, 500):
        message = f"Incorrect API key provided: {KEY}, {CLIENTS_KEY}. canary-message canary-prompt"
        script["canary-error"] = error_answer(status, message, "canary-message", KEY)
        assert ask(running.port, "canary-error", BODY, *HEADERS, path=PATH).status == status
    for body in (
        b'{"canary-broken',
        BODY[:-1] + b',"input":"canary-broken"}',
        b'"canary-broken"',
        b"canary-broken\xff",
    ):
        assert ask(running.port, "canary-refused", body, *HEADERS, path=PATH).status == 400
    assert ask(running.port, "canary-refused", BODY[:-1] + b',"background":"canary-broken"}', path=PATH).status == 501
    assert ask(running.port, "canary-refused", BODY, path="/%2f?canary-query").status == 400
    assert ask(running.port, "canary-gone", BODY, *HEADERS, path=PATH.replace("openai", "gone")).status == 503
    for text in (b"canary-answer, no JSON", b'{"output":"canary-answer"', b"data: canary-answer\n\n" * 3):
        script["canary-odd"] = Answer(content_type=EVENT_STREAM if b"data" in text else "application/json", body=text)
        assert ask(running.port, "canary-odd", BODY, *HEADERS, path=PATH).status == 200


def break_off(running: Bridge, provider: ThreadedProvider, script: Script) -> None:
    script["canary-slow"] = whole("canary", hold=-1)
    assert ask(running.port, "canary-slow", BODY, *HEADERS, path=PATH).status == 504
    script["canary-cut"] = streamed("canary", die=2)
    ask(running.port, "canary-cut", BODY, *HEADERS, path=PATH)
    script["canary-left"] = streamed("canary", hold=1)
    with asking(running.port, "canary-left", BODY, *HEADERS, path=PATH) as connection:
        connection.head()
        connection.reset()
    provider.departure("canary-left")


def kill_a_worker(running: Bridge, provider: ThreadedProvider, script: Script) -> None:
    script["canary-killed"] = streamed("canary", hold=1)
    with asking(running.port, "canary-killed", BODY, *HEADERS, path=PATH) as connection:
        connection.head()
        (worker,) = running.workers()
        os.kill(worker, signal.SIGABRT)
        provider.release("canary-killed")
        connection.rest()
    assert running.ending("canary-killed").ended == ("failed", "lost", None)


def holders(folder: Path, words: tuple[str, ...], *, journal: bool) -> dict[str, list[str]]:
    """Files in which these words stand, by word; the settings aside, and the journal's unless wanted."""
    files = {
        path.name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "aibridge.toml" and (journal or not path.name.startswith("records.db"))
    }
    assert {"output.log", "access.log", "envoy.yaml"} <= files.keys()
    return {word: sorted(name for name, content in files.items() if word.encode() in content) for word in words}


def test_no_credential_and_no_content_is_written_anywhere_but_prompts_tools_and_thoughts_to_the_journal(
    planted: Bridge,
) -> None:
    """The sidecar's output, Envoy's, the access log and the bootstrap; and Envoy writes its last lines when it ends."""
    wrong = [row["error_message"] or "" for row in planted.rows("SELECT error_message FROM interceptions")]
    assert [message for message in wrong if "canary" in message.replace("canary-message", "")] == []
    for path in ADMIN[:3]:
        posted(planted, "POST", path)
    ask(planted.port, "canary-well", BODY, *HEADERS, path=PATH)
    assert planted.stop() == 0
    assert holders(planted.folder, CREDENTIALS, journal=True) == {word: [] for word in CREDENTIALS}
    assert holders(planted.folder, CONTENT, journal=False) == {word: [] for word in CONTENT}
    unkept = tuple(word for word in UNKEPT if word != "canary-message")
    assert holders(planted.folder, unkept, journal=True) == {word: [] for word in unkept}
    assert [line for line in planted.output.splitlines() if "Traceback" in line] == []


def test_no_process_shows_a_key_to_whoever_lists_them(start_bridge: Callable[..., Bridge]) -> None:
    running = start_bridge()
    pids = (running.process.pid, *running.children())
    assert len(pids) == 3
    for pid in pids:
        assert b"sk-central-canary" not in shown(pid)


def test_keys_that_the_environment_brings_go_no_further(tmp_path: Path) -> None:
    """The parent has what it was given, as the kernel shows it; its children get their keys by pipe, or none."""
    provider = json.dumps([{"name": "openai", "api_key": KEY, "extra_headers": {"x-key": "canary-extra"}}])
    variables = {"OPENAI_API_KEY": KEY, "AIBRIDGE_PROVIDERS": provider, "aibridge_verdict": "canary-verdict"}
    process = launched(tmp_path, written(tmp_path, free_ports(), {}), **variables)
    try:
        eventually(lambda: '"ready"' in (tmp_path / "output.log").read_text(), "ready", 60)
        found = children(process.pid)
        assert len(found) == 2
        assert [b"canary" in shown(pid) for pid in (process.pid, *found)] == [True, False, False]
    finally:
        process.terminate()
        assert process.wait(STOPPED_WITHIN) == 0


def shown(pid: int) -> bytes:
    """What the kernel tells of a process: its command line and its environment."""
    return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()


def test_nothing_of_ours_is_open_to_others(shared: Bridge) -> None:
    """Whatever the umask of whoever starts it."""
    ours = [path for path in shared.folder.rglob("*") if path.name not in {"aibridge.toml", "output.log"}]
    assert {"run", "records.db", "access.log", "envoy.yaml"} <= {path.name for path in ours}
    assert any(stat.S_ISSOCK(path.lstat().st_mode) for path in ours)
    assert [path.name for path in ours if path.lstat().st_mode & 0o077] == []


def test_no_process_of_ours_leaves_its_memory_behind(shared: Bridge) -> None:
    for pid in (shared.process.pid, *shared.children()):
        (line,) = (line for line in limits(pid) if line.startswith("Max core file size"))
        assert set(line.split()[4:6]) <= {"0", "1"}  # bytes: no dump is that small


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ADMIN)
def test_envoy_s_admin_interface_shows_no_configuration_and_raises_no_level(
    shared: Bridge, method: str, path: str
) -> None:
    status, text = posted(shared, method, path)
    assert status in {400, 403, 404}
    assert "verdict" not in text


def test_envoy_s_admin_interface_still_says_how_it_is(shared: Bridge) -> None:
    assert posted(shared, "GET", "/ready") == (200, "LIVE\n")
    status, text = posted(shared, "GET", "/stats?filter=downstream_rq_active")
    assert (status, "http.aibridge.downstream_rq_active" in text) == (200, True)


def test_the_word_that_lets_a_request_pass_is_another_at_every_start(
    start_bridge: Callable[..., Bridge], shared: Bridge
) -> None:
    """Who read an old bootstrap knows nothing."""
    other = start_bridge()
    eventually((other.run / "envoy.yaml").exists, "a bootstrap")
    words = {verdict(running) for running in (shared, other)}
    assert len(words) == 2
    assert all(len(word) >= 32 for word in words)


def verdict(running: Bridge) -> str:
    lines = (running.run / "envoy.yaml").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if "key: decision" in line)
    return next(line.split()[-1] for line in lines[at:] if "exact:" in line)


def limits(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/limits").read_text().splitlines()


def posted(running: Bridge, method: str, path: str) -> tuple[int, str]:
    """What Envoy's admin interface answers."""
    connection = HTTPConnection("127.0.0.1", running.admin, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
