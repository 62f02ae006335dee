"""A situation through a bridge, by whoever asks: bytes untouched on both sides, the records there at once."""

import gzip
from collections.abc import Callable

import brotli
import zstandard

from examples.answers import Answer, pieces
from examples.provider import ThreadedProvider
from tests.e2e.connections import Response
from tests.e2e.recorded import Recorded, Records, told
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


class Stage:
    """A bridge, and the provider behind it with its script. `ask` is given a body, a path, and headers."""

    def __init__(self, bridge: Records, provider: ThreadedProvider, script: Script) -> None:
        self.bridge, self.provider, self.script = bridge, provider, script

    def replay(  # noqa: PLR0913 - what a transcript is played by
        self,
        case: str,
        transcript: Transcript,
        *,
        streaming: bool,
        actor: str,
        ask: Callable[..., Response],
        coding: str = "identity",
    ) -> None:
        """Play it in a coding; what passed and what was recorded must be what the transcript says, asked by `actor`."""
        coded, label = CODINGS[coding], () if coding == "identity" else (("content-encoding", coding),)
        asked, answered = coded(transcript.request(streaming)), coded(transcript.answer(streaming))
        self.script[case] = Answer(
            status=transcript.status,
            headers=(("x-request-id", f"req-{case}"), *label),
            content_type=transcript.content_type(streaming),
            body=pieces(answered, CHUNK) if streaming else answered,
        )
        response = ask(asked, f"/openai/v1/{transcript.path}", *label)
        recorded = self.bridge.session(case)
        assert (response.status, response.body, response.whole) == (transcript.status, answered, True)
        (seen,) = self.provider.seen[case]
        assert (seen.method, seen.target, seen.body) == ("POST", f"/v1/{transcript.path}", asked)
        _is_as_told(recorded, transcript, streaming=streaming)
        assert recorded.interception["initiator_id"] == actor
        assert recorded.interception["provider_request_id"] == f"req-{case}"


def _is_as_told(recorded: Recorded, transcript: Transcript, *, streaming: bool) -> None:
    expected = transcript.expected(streaming)
    ended = expected["ended"]
    mentions, hides = ended.pop("mentions", []), ended.pop("hides", [])
    assert told(recorded) == expected
    message = recorded.interception["error_message"] or ""
    assert [word for word in mentions if word not in message] == []
    assert [word for word in hides if word in message] == []
    assert recorded.interception["status"] == ("failed" if ended["failure"] else "completed")
