"""Every situation through the real Envoy with `grpc_server = "completion_queue"`: all is as by default."""

from collections.abc import Iterator

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
