"""Exchanges with the Responses API, one file per situation, each playable whole and streamed.

A file holds
- `about`: why the situation is here;
- `request`: the body without `stream`; `path` where it is not `responses`;
- `response`: what matters of the final object; `USUAL` is the rest, but for errors and what has an `object` of its own;
- `events` or `sse` (events, and pieces of text as they stand) where the stream is not the one that `response` gives;
- `text`: the whole answer's text, in pieces, where it is not simply `response` as JSON;
- `only`: `streamed` or `whole`, where there is no other; `status`, `content_type`, where they are not the usual ones;
- `ascii`: whether everything else than ASCII travels escaped;
- `odd`: why the schema of the `openai` package would not have it;
- `expected`: the records, in the vocabulary of `sidecar.core.records`, without ids of ours and times. Of a failure's
  message it says only what it `mentions` and what it `hides`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from examples.events import USUAL, events, sse, text

HERE = Path(__file__).parent
JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """One situation. `streaming` is whether the client asks for a stream; not every situation has both."""

    name: str
    file: dict[str, Any]

    @property
    def about(self) -> str:
        """Why the situation is here."""
        return str(self.file["about"])

    @property
    def path(self) -> str:
        """What follows `/v1/`."""
        return str(self.file.get("path", "responses"))

    @property
    def status(self) -> int:
        """The answer's HTTP status."""
        return int(self.file.get("status", 200))

    @property
    def odd(self) -> bool:
        """Whether the schema would not have it."""
        return "odd" in self.file

    @property
    def plays(self) -> tuple[bool, ...]:
        """The values of `streaming` for which the situation exists."""
        return {"streamed": (True,), "whole": (False,)}.get(self.file.get("only", ""), (False, True))

    @property
    def response(self) -> dict[str, Any]:
        """The final response object in full; an error's body where the status is one."""
        return _full(self.file["response"])

    def request(self, streaming: bool) -> bytes:  # noqa: FBT001 - what a transcript is played by, everywhere
        """The client's body."""
        return text({**self.file["request"], **({"stream": True} if streaming else {})}, ascii_only=self._ascii)

    def events(self) -> Iterator[dict[str, Any]]:
        """The stream's events, as far as they keep to form."""
        given = self.file.get("events", self.file.get("sse"))
        if given is None:
            yield from events(self.response)
        else:
            yield from (_complete(event) for event in given if isinstance(event, dict))

    def whole(self) -> bytes:
        """The answer to a request that does not stream."""
        if "text" in self.file:
            return "".join(self.file["text"]).encode()
        return text(self.response, indent=2, ascii_only=self._ascii)

    def streamed(self) -> bytes:
        """The answer to a request that streams: an error is JSON all the same."""
        if self.status != 200:
            return self.whole()
        if "sse" in self.file:
            return b"".join(self._piece(piece) for piece in self.file["sse"])
        return b"".join(self._piece(event) for event in self.events())

    def answer(self, streaming: bool) -> bytes:  # noqa: FBT001 - as above
        """The provider's body."""
        return self.streamed() if streaming else self.whole()

    def content_type(self, streaming: bool) -> str:  # noqa: FBT001 - as above
        """What the provider labels its body with."""
        usual = EVENT_STREAM if streaming and self.status == 200 else JSON
        return str(self.file.get("content_type", usual))

    def expected(self, streaming: bool) -> dict[str, Any]:  # noqa: FBT001 - as above
        """The records, by kind: `started`, `prompt`, `tokens`, `tools`, `thoughts`, `ended`."""
        expected: dict[str, Any] = json.loads(json.dumps(self.file["expected"]))
        expected["started"]["streaming"] = streaming
        return expected

    def _piece(self, piece: str | dict[str, Any]) -> bytes:
        return piece.encode() if isinstance(piece, str) else sse(_complete(piece), ascii_only=self._ascii)

    @property
    def _ascii(self) -> bool:
        return bool(self.file.get("ascii", False))


@cache
def load() -> dict[str, Transcript]:
    """Every situation by its name."""
    files = sorted(HERE.glob("*.json"))
    return {file.stem: Transcript(name=file.stem, file=json.loads(file.read_text())) for file in files}


def plays() -> list[tuple[Transcript, bool]]:
    """Every situation in each way it exists, with whether it streams."""
    return [(transcript, streaming) for transcript in load().values() for streaming in transcript.plays]


def _full(response: dict[str, Any]) -> dict[str, Any]:
    return response if "object" in response or "id" not in response else USUAL | response


def _complete(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "response": _full(event["response"])} if "response" in event else event
