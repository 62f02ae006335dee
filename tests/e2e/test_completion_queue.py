"""Every situation through the real Envoy with `grpc_server = "completion_queue"`: all is as by default."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import ACTOR, Response, ask
from tests.e2e.replaying import NAMES, PLAYS, Stage
from tests.e2e.scripts import Script
from tests.transcripts import Transcript


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    with bridge(tmp_path_factory.mktemp("quick"), provider.url, grpc_server="completion_queue") as running:
        yield running


@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_untouched_and_is_recorded_at_once(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    case: str,
    quick: Bridge,
    script: Script,
    provider: ThreadedProvider,
) -> None:
    def asked(body: bytes, path: str, *more: tuple[str, str]) -> Response:
        return ask(quick.port, case, body, *more, path=path)

    Stage(quick, provider, script).replay(case, transcript, streaming=streaming, actor=ACTOR, ask=asked)


def _environment(bridge: Bridge) -> dict[str, str]:
    [worker] = bridge.workers()
    variables = Path(f"/proc/{worker}/environ").read_text().split("\0")
    return dict(variable.split("=", 1) for variable in variables if variable)


def test_its_worker_reads_by_itself_what_envoy_sends(quick: Bridge) -> None:
    """And has no thread of gRPC's hand it over: the switch has to be in its environment when it begins."""
    assert _environment(quick)["GRPC_EXPERIMENTS"] == "-event_engine_listener"


def test_what_the_operator_says_to_grpc_counts(
    tmp_path: Path, provider: ThreadedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRPC_EXPERIMENTS", "event_engine_listener")
    with bridge(tmp_path, provider.url, grpc_server="completion_queue") as running:
        assert _environment(running)["GRPC_EXPERIMENTS"] == "event_engine_listener"
