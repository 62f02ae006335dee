import json
import os
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from sidecar.cli import main
from tests import binary
from tests.e2e.bridges import COMMAND, ROOT, Bridge, environment, free_ports, written
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, streamed, whole
from tests.e2e.scripts import Script

COMMANDS = (
    "up",
    "serve",
    "envoy-config",
    "istio-config",
    "drain",
    "report",
    "export",
    "purge",
    "recorder",
    "console",
    "probe",
)
MORE = {  # what a command needs
    "probe": ("--model", "m"),
    "export": ("--format", "jsonl"),
    "purge": ("--actor", "a"),
    "istio-config": ("--at", "sidecar"),
}


@pytest.fixture(autouse=True)
def logging_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The commands set the process's logging up; and what they read is what a test says."""
    for name in set(environment()) ^ set(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_commands_are_told_to_who_asks(flag: str) -> None:
    result = run(flag)
    assert result.exit_code == 0
    assert [command for command in COMMANDS if f"  {command}" not in result.output] == []


def test_the_version_is_the_distribution_s() -> None:
    assert run("--version").output.split()[-1] == version("aibridge-sidecar")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_setting_is_a_line_and_status_2(tmp_path: Path, command: str) -> None:
    file = written(tmp_path, free_ports(), {"workers": 0})
    result = run(command, "--config", file, *MORE.get(command, ()))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "aibridge-sidecar: workers = 0: allowed: greater than or equal to 1\n"


def test_every_wrong_setting_has_its_line(tmp_path: Path) -> None:
    """Who mends one should not have to come back for the next."""
    file = written(tmp_path, free_ports(), {"workers": 0, "limits": {"idle_timeout": -1}})
    assert len(run("envoy-config", "--config", file).stderr.splitlines()) == 2


def test_a_file_that_is_missing_is_named() -> None:
    result = run("envoy-config", "--config", "nowhere.toml")
    assert result.exit_code == 2
    assert result.stderr == 'aibridge-sidecar: --config = "nowhere.toml": cannot be read (No such file or directory)\n'


def test_settings_are_read_from_the_folder_where_one_is(tmp_path: Path) -> None:
    written(tmp_path, (1234, 1235), {})
    assert "port_value: 1234" in run("envoy-config").output


@pytest.mark.parametrize("make", [lambda file: file.symlink_to("nowhere"), Path.mkdir])
def test_what_is_in_the_place_of_the_settings_is_no_leave_to_go_by_defaults(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "aibridge.toml")
    result = run("envoy-config")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert '--config = "aibridge.toml": cannot be read' in result.output


@pytest.mark.parametrize("text", [f"workers = {'1' * 5000}", f"workers = {'[' * 5000}"])
def test_a_value_without_an_end_is_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "aibridge.toml").write_text(text)
    result = run("envoy-config")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)


PROBE = ("probe", "--config", "CONFIG", "--actor", "ada", "--model", "gpt-5")


@pytest.mark.parametrize(
    ("command", "surroundings", "told"),
    [
        (PROBE, {"PYTHONIOENCODING": "ascii"}, "PYTHONUTF8=1"),
        (("envoy-config", "--defaults"), {}, "No space left on device"),
    ],
)
def test_what_cannot_be_written_is_a_line(
    command: tuple[str, ...], surroundings: dict[str, str], told: str, shared: Bridge
) -> None:
    words = [str(shared.folder / "aibridge.toml") if word == "CONFIG" else word for word in command]
    with open(os.devnull if surroundings else "/dev/full", "w") as nowhere:  # noqa: PTH123 - devices
        done = subprocess.run(
            [*COMMAND, *words],
            env=environment() | surroundings,
            cwd=ROOT,
            stdout=nowhere,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert told in done.stderr


def test_what_is_wrong_with_anything_else_is_a_line_and_status_1(tmp_path: Path) -> None:
    result = run("report", "--config", written(tmp_path, free_ports(), {}))
    line = f"aibridge-sidecar: journal {tmp_path}/records.db: there is no such file\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", line)


def test_the_bootstrap_of_the_defaults_is_the_one_that_is_kept(tmp_path: Path) -> None:
    """Whatever the folder says, even nonsense."""
    written(tmp_path, free_ports(), {"workers": 0})
    assert run("envoy-config", "--defaults").output == (ROOT / "envoy" / "envoy.yaml").read_text("utf-8")


def test_the_bootstrap_is_one_that_envoy_takes(tmp_path: Path) -> None:
    provider = {"name": "eu-1", "base_url": "https://eu.example/v1", "retry_on": ["429", "5xx"], "api_key": "sk-canary"}
    settings = {"providers": [provider, {"name": "local", "base_url": "http://127.0.0.1:1"}], "workers": 4}
    result = run("envoy-config", "--config", written(tmp_path, free_ports(), settings))
    assert result.exit_code == 0
    assert "sk-canary" not in result.output
    (tmp_path / "run").mkdir()
    (tmp_path / "envoy.yaml").write_text(result.output)
    command = [binary.envoy(), "--mode", "validate", "--config-path", tmp_path / "envoy.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, f"configuration '{tmp_path}/envoy.yaml' OK")


def test_the_report_adds_up_what_was_recorded(shared: Bridge, script: Script, case: str) -> None:
    """While the bridge runs."""
    script[case] = [streamed(case), whole(case)]
    who = ("x-forwarded-user", f"actor-{case}")
    for body in (ASKED, ASKED, ASKED[:-1] + b',"background":true}'):
        ask(shared.port, case, body, who)
    totals = json.loads(run("report", "--json", "--config", shared.folder / "aibridge.toml").stdout)
    (usage,) = (usage for usage in totals["actor"] if usage["name"] == f"actor-{case}")
    assert usage == {
        "name": f"actor-{case}",
        "interceptions": 3,
        "failed": 1,
        "open": 0,
        "input_tokens": 12,
        "output_tokens": 6,
        "cache_read_input_tokens": 8,
        "cache_write_input_tokens": 0,
        "tool_calls": 0,
        "cost": None,
        "unpriced": 2,
    }
    shown = run("report", "--config", shared.folder / "aibridge.toml").stdout
    assert [heading for heading in ("actor", "model", "client", "day") if heading not in shown] == []


def test_a_report_s_days_are_days(shared: Bridge) -> None:
    result = run("report", "--since", "yesterday", "--config", shared.folder / "aibridge.toml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "since" in result.stderr


def test_a_probe_of_a_bridge_that_runs_says_that_all_is_well(shared: Bridge) -> None:
    result = run("probe", "--config", shared.folder / "aibridge.toml", "--model", "example-small", "--actor", "ada")
    assert result.exit_code == 0, result.output


def test_a_probe_of_nobody_fails(tmp_path: Path) -> None:
    result = run("probe", "--config", written(tmp_path, free_ports(), {}), "--model", "example-small")
    assert result.exit_code == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize("program", [COMMAND, (Path(COMMAND[0]).with_name("aibridge-sidecar"),)])
def test_it_is_run_by_its_name_and_as_a_module(program: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [*program, "envoy-config", "--config", tmp_path / "none.toml"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("aibridge-sidecar: --config = ")
