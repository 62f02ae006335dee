"""Fixed input, a situation each: what Envoy says, in order. What we answer stands in `golden/`, byte for byte."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contract import peer
from tests.contract.worker import serving

GOLDEN = Path(__file__).parent / "golden"
BODY = b'{"model":"gpt-5","input":"What is the weather?","stream":true}'
WHOLE = b'{"model":"gpt-5","input":"What is the weather?"}'
ANSWER = b'{"id":"resp_1","status":"completed","usage":{"input_tokens":3,"output_tokens":2}}'
CREATED = b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
COMPLETED = b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"resp_1"}}\n\n'
DUPLEX = (peer.Mode.FULL_DUPLEX_STREAMED, peer.Mode.FULL_DUPLEX_STREAMED)
BUFFERED = (peer.Mode.BUFFERED, peer.Mode.STREAMED)
CLIENT = (("authorization", "Bearer sk-client-abcdefghijkl"), ("user-agent", "codex_cli_rs/0.50"), ("cookie", "a=b"))
LIST = ((":method", "GET"), (":path", "/openai/v1/models"), ("x-forwarded-user", "alice"))
REQUEST = (peer.request_headers(peer.POST, *CLIENT, modes=BUFFERED), peer.request_body(BODY))

# Each inner tuple is said at once, and answered by as many replies as stand behind it.
Say = tuple[Sequence[peer.ProcessingRequest], int]


def each(*messages: peer.ProcessingRequest) -> tuple[Say, ...]:
    """Every message is answered before the next."""
    return tuple(((message,), 1) for message in messages)


SITUATIONS: dict[str, tuple[Say, ...]] = {
    "whole": each(
        peer.request_headers(modes=BUFFERED),
        peer.request_body(WHOLE),
        peer.response_headers(),
        peer.response_body(ANSWER[:20]),
        peer.response_body(ANSWER[20:]),
        peer.response_body(b"", end=True),
    ),
    "streamed": each(
        *REQUEST,
        peer.response_headers(peer.EVENTS),
        peer.response_body(CREATED),
        peer.response_body(COMPLETED),
        peer.response_body(b"", end=True),
    ),
    "streamed_with_trailers": each(
        *REQUEST, peer.response_headers(peer.EVENTS), peer.response_body(COMPLETED), peer.response_trailers()
    ),
    "provider_refuses": each(
        *REQUEST, peer.response_headers(((":status", "429"),)), peer.response_body(b'{"error":{}}', end=True)
    ),
    "provider_unreachable": each(*REQUEST, peer.response_headers(((":status", "503"),), details="upstream_reset")),
    "background": each(REQUEST[0], peer.request_body(b'{"background":true}')),
    "not_json": each(REQUEST[0], peer.request_body(b"hello")),
    "no_body": each(peer.request_headers(end=True)),
    "nobody": each(peer.request_headers(peer.POST[:4])),
    "no_route": each(peer.request_headers(((":method", "POST"), (":path", "/openai/v1/embeddings")))),
    "wrong_method": each(peer.request_headers(((":method", "GET"), (":path", "/openai/v1/responses")))),
    "too_large": each(peer.request_headers(peer.POST, ("content-length", "8388609"))),
    "passthrough": each(peer.request_headers(LIST, end=True), peer.response_headers()),
    "response_alone": each(peer.response_headers(((":status", "403"),)), peer.response_body(b"no", end=True)),
    "impossible_order": each(peer.request_body(WHOLE)),
    "unknown_message": each(peer.ProcessingRequest()),
    "unfit_proxy": each(peer.request_headers(modes=(peer.Mode.STREAMED, peer.Mode.STREAMED))),
    "duplex": (
        ((peer.request_headers(modes=DUPLEX), peer.request_body(BODY[:9], end=False), peer.request_body(BODY[9:])), 2),
        *each(peer.response_headers(peer.EVENTS), peer.response_body(COMPLETED), peer.response_body(b"", end=True)),
    ),
    "duplex_with_trailers": (
        ((peer.request_headers(modes=DUPLEX), peer.request_body(BODY, end=False), peer.request_trailers()), 3),
        *each(peer.response_headers(peer.EVENTS), peer.response_body(COMPLETED), peer.response_trailers()),
    ),
    "duplex_passthrough": each(
        peer.request_headers(LIST, end=True, modes=DUPLEX), peer.response_headers(), peer.response_body(b"{}", end=True)
    ),
}


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was answered."""

    replies: tuple[bytes, ...]

    def __str__(self) -> str:
        """For each reply what envoy-data-plane reads in it, and its bytes."""
        lines = []
        for reply in self.replies:
            lines += [peer.ProcessingResponse.parse(reply).to_json(), *_rows(reply.hex(" ")), ""]
        return "\n".join(lines)


def _rows(text: str) -> list[str]:
    return [f"  {text[at : at + 96].rstrip()}" for at in range(0, len(text), 96)] or ["  (no bytes)"]


@asynccontextmanager
async def played(name: str, folder: Path, *, cuts: bool = False) -> AsyncIterator[Transcript]:
    """A situation's transcript, by a worker of its own, whose first ids and clock are always the same."""
    async with serving(folder) as worker:
        worker.processor.cuts = cuts
        stream = worker.stream()
        for messages, count in SITUATIONS[name]:
            await stream.tell(*messages)
            await stream.bytes(count)
        assert await stream.end() == []
        yield Transcript(tuple(stream.heard))
