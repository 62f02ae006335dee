"""`drain` beside a bridge that serves somebody."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from examples.provider import Provider, ThreadedProvider
from sidecar.cli import main
from tests.e2e.bridges import COMMAND, ROOT, Bridge, bridge, environment, free_ports, written
from tests.e2e.connections import ask, asking
from tests.e2e.exchanges import ASKED_STREAM, FIRST, streamed
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE, eventually


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The command sets the process's logging up."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def held(case: str) -> Iterator[ThreadedProvider]:
    """One that stops in the middle of its answer until it is released."""
    script = Script()
    script[case] = streamed(case, hold=1)
    with ThreadedProvider(Provider(script, pace=0)) as running:
        yield running


@pytest.fixture
def running(tmp_path: Path, held: ThreadedProvider) -> Iterator[Bridge]:
    with bridge(tmp_path, held.url) as started:
        yield started


def drain(folder: Path, timeout: float, quiet: float) -> Result:
    options = ["--config", str(folder / "aibridge.toml"), "--timeout", str(timeout), "--quiet", str(quiet)]
    return CliRunner().invoke(main, ["drain", *options], catch_exceptions=False)


def test_it_waits_for_whoever_is_served(running: Bridge, held: ThreadedProvider, case: str) -> None:
    """And tells load balancers meanwhile to go elsewhere, and connections to end; every byte is delivered."""
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        config = str(running.folder / "aibridge.toml")
        draining = subprocess.Popen(
            [*COMMAND, "drain", "--config", config, "--quiet", "0.5"],
            cwd=ROOT,
            env=environment(),
            stderr=subprocess.PIPE,
        )
        try:
            eventually(lambda: running.health() == 503, "turned away")
            assert ask(running.port, "", method="GET", path="/nowhere").first("connection") == "close"
            assert draining.poll() is None
            held.release(case)
            _, whole = connection.rest()
            _, told = draining.communicate(timeout=PATIENCE)
        finally:
            draining.kill()
            draining.wait()
    assert (whole, draining.returncode) == (True, 0)
    assert b"drained" in told


def test_who_takes_too_long_is_told_of(running: Bridge, held: ThreadedProvider, case: str) -> None:
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        result = drain(running.folder, 0.5, 0.2)
        held.release(case)
        assert connection.rest()[1]
    assert result.exit_code == 1


def test_who_is_not_there_serves_nobody(tmp_path: Path) -> None:
    written(tmp_path, free_ports(), {})
    assert drain(tmp_path, 60, 0).exit_code == 0


@pytest.mark.parametrize("option", ["--timeout", "--quiet"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_seconds_have_an_end(option: str, value: str) -> None:
    refused = CliRunner().invoke(main, ["drain", option, value])
    assert refused.exit_code == 2
    assert option in refused.output
