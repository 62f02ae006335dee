"""`credentials.inject_by = "envoy"`: the central key is in what Envoy sends, and nowhere else."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.answers import Answer, error_answer
from examples.provider import ThreadedProvider
from tests.e2e.bridges import COMMAND, ROOT, Bridge, bridge, free_ports, launched, written
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, streamed, whole
from tests.e2e.scripts import Script
from tests.e2e.secrets import remembers, telling
from tests.e2e.waiting import PATIENCE, eventually

KEY, KEYED, FILED, SAID, SWAPPED = KEYS = tuple(
    f"sk-canary-{name}-0a1b2c3d4e5f6071" for name in ("inline", "api-key", "filed", "said", "swapped")
)
OWN = "sk-canary-own-fedcba9876543210"
CENTRAL = {"openai": f"Bearer {KEY}", "strict": f"Bearer {FILED}"}
PATH = "/{}/v1/responses"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("injected")


@pytest.fixture(scope="module")
def running(folder: Path, provider: ThreadedProvider) -> Iterator[Bridge]:
    """With Envoy at `trace`, and all that is secret in the environment as well."""
    here = {"base_url": f"{provider.url}/v1"}
    (folder / "key").write_text(f"{FILED}\n")
    providers = [
        {"name": "openai", "api_key": KEY, "retry_on": ["503"], "max_retries": 1, **here},
        {"name": "strict", "api_key_file": str(folder / "key"), "byok": False, **here},
        {"name": "azure", "api_key": KEYED, "auth_header": "Api-Key", **here},
        {"name": "saying", "api_key": SAID, **here},
        {"name": "keyless", **here},
    ]
    settings = {"credentials": {"inject_by": "envoy"}, "envoy": str(telling(folder)), "providers": providers}
    with bridge(folder, provider.url, variables={"OPENAI_API_KEY": KEY}, **settings) as started:
        yield started
        assert started.stop() == 0
        assert list((started.run / "secrets").iterdir()) == []
        assert [key for key in KEYS if key in started.output] == []  # whatever tests did


@pytest.fixture
def terminal() -> Iterator[None]:
    """Who runs the tests may have asked not to hear that it is gone (nohup)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_that_is_gone_ends_it_and_leaves_no_secret(tmp_path: Path, provider: ThreadedProvider) -> None:
    there = {"providers": [{"name": "openai", "api_key": KEY, "base_url": f"{provider.url}/v1"}]}
    with bridge(tmp_path, provider.url, credentials={"inject_by": "envoy"}, **there) as running:
        assert list((running.run / "secrets").iterdir())
        assert running.stop(signal.SIGHUP) == 0
        assert list((running.run / "secrets").iterdir()) == []


def bearer(key: str) -> tuple[str, str]:
    return "authorization", f"Bearer {key}"


@pytest.mark.parametrize("name", CENTRAL)
@pytest.mark.parametrize("sent", [(), (("authorization", "Basic b3du"),), (("x-api-key", OWN), ("api_key", OWN))])
def test_the_central_key_is_added_on_the_last_stretch(  # noqa: PLR0913, PLR0917 - fixtures
    name: str,
    sent: tuple[tuple[str, str], ...],
    case: str,
    running: Bridge,
    provider: ThreadedProvider,
    script: Script,
) -> None:
    script[case] = streamed(case)
    response = ask(running.port, case, ASKED, *sent, path=PATH.format(name))
    assert (response.status, response.whole) == (200, True)
    (seen,) = provider.seen[case]
    assert seen.all("authorization") == [CENTRAL[name]]
    assert OWN not in repr(seen.headers)
    recorded = running.session(case).interception
    assert (recorded["credential_kind"], recorded["credential_hint"]) == ("centralized", "sk-c...6071")


def test_it_stands_in_the_providers_own_header(
    case: str, running: Bridge, provider: ThreadedProvider, script: Script
) -> None:
    """The client's own, under that name, is nobody's."""
    script[case] = whole(case)
    spoofs = (("api-key", OWN), ("api_key", OWN))
    assert ask(running.port, case, ASKED, *spoofs, path=PATH.format("azure")).status == 200
    (seen,) = provider.seen[case]
    assert (seen.all("api-key"), seen.all("authorization"), OWN in repr(seen.headers)) == ([KEYED], [], False)


@pytest.mark.parametrize(
    ("name", "header", "value"), [("openai", "authorization", f"Bearer {OWN}"), ("azure", "api-key", OWN)]
)
def test_a_clients_own_key_passes_in_its_place(  # noqa: PLR0913, PLR0917 - fixtures
    name: str, header: str, value: str, case: str, running: Bridge, provider: ThreadedProvider, script: Script
) -> None:
    script[case] = whole(case)
    assert ask(running.port, case, ASKED, bearer(OWN), path=PATH.format(name)).status == 200
    (seen,) = provider.seen[case]
    assert (seen.all(header), "canary-inline" in repr(seen.headers)) == ([value], False)
    recorded = running.session(case).interception
    assert (recorded["credential_kind"], recorded["credential_hint"]) == ("byok", "sk-c...3210")


def test_where_no_client_may_have_its_own_it_is_put_aside(
    case: str, running: Bridge, provider: ThreadedProvider, script: Script
) -> None:
    script[case] = whole(case)
    assert ask(running.port, case, ASKED, bearer(OWN), path=PATH.format("strict")).status == 200
    assert provider.seen[case][0].all("authorization") == [f"Bearer {FILED}"]


def test_what_is_passed_through_has_it_too(
    case: str, running: Bridge, provider: ThreadedProvider, script: Script
) -> None:
    script[case] = Answer(body=b"{}")
    assert ask(running.port, case, method="GET", path="/openai/v1/models").status == 200
    assert provider.seen[case][0].all("authorization") == [f"Bearer {KEY}"]


def test_so_has_every_further_attempt(case: str, running: Bridge, provider: ThreadedProvider, script: Script) -> None:
    script[case] = [error_answer(503, "later", "overloaded"), whole(case)]
    assert ask(running.port, case, ASKED).status == 200
    assert [seen.all("authorization") for seen in provider.seen[case]] == [[f"Bearer {KEY}"]] * 2


def test_a_provider_without_one_has_clients_keys_alone(
    case: str, running: Bridge, provider: ThreadedProvider, script: Script
) -> None:
    script[case] = whole(case)
    refused = ask(running.port, case, ASKED, path=PATH.format("keyless"))
    assert (refused.status, b"no key for provider keyless" in refused.body) == (500, True)
    assert ask(running.port, case, ASKED, bearer(OWN), path=PATH.format("keyless")).status == 200
    assert [seen.all("authorization") for seen in provider.seen[case]] == [[f"Bearer {OWN}"]]


@pytest.mark.parametrize("code", [SAID, f"bad_{SAID[3:]}", "sk-c_____6071"])
def test_an_error_that_quotes_it_is_recorded_without(code: str, case: str, running: Bridge, script: Script) -> None:
    """The sidecar does not know it, but its hint."""
    script[case] = error_answer(401, f"Incorrect API key provided: {SAID}", "invalid_request_error", code)
    assert ask(running.port, case, ASKED, path=PATH.format("saying")).status == 401
    (failure,) = running.rows("select error_message from interceptions where client_session_id = ?", case)
    assert "invalid_request_error" in str(dict(failure))
    assert code not in str(dict(failure))


def test_it_never_enters_a_worker(case: str, running: Bridge, script: Script) -> None:
    """Neither its environment nor its memory; a client's own key does, which shows that we look where it would be."""
    script[case] = whole(case)
    assert ask(running.port, case, ASKED, bearer(OWN)).status == 200
    keys = [key.encode() for key in (KEY, KEYED, FILED)]
    for pid in running.workers():
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert [key for key in keys if key in environment or remembers(pid, key)] == []
        assert remembers(pid, OWN.encode())


def test_one_in_a_file_is_in_no_python_that_stays_and_in_envoy(case: str, running: Bridge, script: Script) -> None:
    """Nor is it once it has changed. What the settings hold the parent knows, which shows that we can see it."""
    script[case] = whole(case)
    for key in (SWAPPED, FILED):
        (running.folder / "key").write_text(key)
        made = running.run / "secrets/provider-strict.key"
        eventually(lambda made=made, key=key: made.read_text() == f"Bearer {key}", "a new key in Envoy's file")
        assert ask(running.port, case, ASKED, path=PATH.format("strict")).status == 200
    parent = running.process.pid
    assert (remembers(parent, KEYED.encode()), remembers(running.envoy(), FILED.encode())) == (True, True)
    pids = (parent, *running.workers())
    assert [(pid, key) for pid in pids for key in (FILED, SWAPPED) if remembers(pid, key.encode())] == []


def test_it_is_in_no_log_and_no_bootstrap(case: str, running: Bridge, script: Script) -> None:
    """Envoy at `trace` tells every header that a filter, the router or ext_proc sees; it comes after these."""
    script[case] = whole(case)
    assert ask(running.port, case, ASKED, ("x-canary", "sk-canary-header")).status == 200
    eventually(lambda: "sk-canary-header" in running.output, "Envoy's log")
    loggers = (f'"logger": "envoy.{name}"' for name in ("ext_proc", "http", "router", "rbac", "config"))
    assert [part for part in ('"level": "trace"', *loggers) if part not in running.output] == []
    command = [*COMMAND, "envoy-config", "--config", running.folder / "aibridge.toml"]
    environment = {"PATH": os.environ["PATH"]}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, text=True).stdout
    holders = [path.name for path in running.run.rglob("*") if path.is_file() and b"sk-canary-" in path.read_bytes()]
    assert sorted(holders) == [f"provider-{name}.key" for name in ("azure", "openai", "saying", "strict")]
    assert [key for key in KEYS if key in running.output + printed] == []


def test_a_file_that_holds_no_key_is_refused_before_anything_runs(tmp_path: Path, provider: ThreadedProvider) -> None:
    """In one line, by who looked into it; and nothing is left."""
    (tmp_path / "key").write_text(f"{FILED}\n{SAID}\n")
    named = [{"name": "openai", "api_key_file": str(tmp_path / "key"), "base_url": f"{provider.url}/v1"}]
    file = written(tmp_path, free_ports(), {"credentials": {"inject_by": "envoy"}, "providers": named})
    refused = launched(tmp_path, file)
    assert refused.wait(PATIENCE) == 2
    (line,) = (tmp_path / "output.log").read_text().splitlines()
    assert line.startswith(f'aibridge-sidecar: providers[0].api_key_file = "{tmp_path}/key": what it holds is no key')
    assert "sk-canary" not in line
    assert [path for path in (tmp_path / "run").rglob("*") if path.suffix in {".key", ".json", ".sock"}] == []
