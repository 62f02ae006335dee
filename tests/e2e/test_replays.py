"""Every situation through the real Envoy, in every coding: bytes untouched on both sides, the records there at once."""

import gzip
from collections.abc import Callable

import brotli
import pytest
import zstandard

from examples.answers import Answer, pieces
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import ACTOR, ask
from tests.e2e.recorded import told
from tests.e2e.scripts import Script
from tests.transcripts import Transcript, plays

PLAYS = plays()
NAMES = [f"{transcript.name}-{'streamed' if streaming else 'whole'}" for transcript, streaming in PLAYS]
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
CHUNK = 211  # bytes: no multiple of anything, so that chunks end wherever


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
    coded, label = CODINGS[coding], () if coding == "identity" else (("content-encoding", coding),)
    asked, answered = coded(transcript.request(streaming)), coded(transcript.answer(streaming))
    script[case] = Answer(
        status=transcript.status,
        headers=(("x-request-id", f"req-{case}"), *label),
        content_type=transcript.content_type(streaming),
        body=pieces(answered, CHUNK) if streaming else answered,
    )

    response = ask(shared.port, case, asked, *label, path=f"/openai/v1/{transcript.path}")
    recorded = shared.session(case)

    assert (response.status, response.body, response.whole) == (transcript.status, answered, True)
    (seen,) = provider.seen[case]
    assert (seen.method, seen.target, seen.body) == ("POST", f"/v1/{transcript.path}", asked)
    expected = transcript.expected(streaming)
    ended = expected["ended"]
    mentions, hides = ended.pop("mentions", []), ended.pop("hides", [])
    assert told(recorded) == expected
    message = recorded.interception["error_message"] or ""
    assert [word for word in mentions if word not in message] == []
    assert [word for word in hides if word in message] == []
    assert recorded.interception["status"] == ("failed" if ended["failure"] else "completed")
    assert recorded.interception["initiator_id"] == ACTOR
    assert recorded.interception["provider_request_id"] == f"req-{case}"
