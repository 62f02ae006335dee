"""Every situation through the real Envoy, in every coding: bytes untouched on both sides, the records there at once."""

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import ACTOR, Response, ask
from tests.e2e.replaying import CODINGS, NAMES, PLAYS, Stage
from tests.e2e.scripts import Script
from tests.transcripts import Transcript


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("transcript", "streaming"), PLAYS, ids=NAMES)
def test_a_situation_passes_untouched_and_is_recorded_at_once(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    transcript: Transcript,
    streaming: bool,  # noqa: FBT001 - what a transcript is played by
    coding: str,
    case: str,
    shared: Bridge,
    script: Script,
    provider: ThreadedProvider,
) -> None:
    """Codex compresses what it sends; what comes back may be compressed whatever was asked for."""

    def asked(body: bytes, path: str, *more: tuple[str, str]) -> Response:
        return ask(shared.port, case, body, *more, path=path)

    Stage(shared, provider, script).replay(case, transcript, streaming=streaming, actor=ACTOR, ask=asked, coding=coding)
