"""A situation through a bridge, by whoever asks: bytes untouched on both sides, the records there at once."""

from collections.abc import Callable

from examples.answers import Answer, pieces
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge
from tests.e2e.connections import Response
from tests.e2e.recorded import told
from tests.e2e.scripts import Script
from tests.transcripts import Transcript, plays

PLAYS = plays()
NAMES = [f"{transcript.name}-{'streamed' if streaming else 'whole'}" for transcript, streaming in PLAYS]
CHUNK = 211  # bytes: no multiple of anything, so that chunks end wherever


class Stage:
    """The bridge, and the provider behind it with its script. `ask` is given a body and a path."""

    def __init__(self, bridge: Bridge, provider: ThreadedProvider, script: Script) -> None:
        self.bridge, self.provider, self.script = bridge, provider, script

    def replay(
        self, case: str, transcript: Transcript, *, streaming: bool, actor: str, ask: Callable[[bytes, str], Response]
    ) -> None:
        """Play it; what passed and what was recorded must be what the transcript says, asked by `actor`."""
        asked, answered = transcript.request(streaming), transcript.answer(streaming)
        self.script[case] = Answer(
            status=transcript.status,
            content_type=transcript.content_type(streaming),
            body=pieces(answered, CHUNK) if streaming else answered,
        )
        response = ask(asked, f"/openai/v1/{transcript.path}")
        assert (response.status, response.body, response.whole) == (transcript.status, answered, True)
        (seen,) = self.provider.seen[case]
        assert (seen.method, seen.target, seen.body) == ("POST", f"/v1/{transcript.path}", asked)
        recorded, expected = self.bridge.session(case), transcript.expected(streaming)
        for apart in ("mentions", "hides"):
            expected["ended"].pop(apart, None)
        assert told(recorded) == expected
        assert recorded.interception["initiator_id"] == actor
