"""What is asked and answered: one exchange as JSON, one as server-sent events, of the sizes that are usual."""

import json
import re
from collections.abc import Iterator
from itertools import islice

from examples.answers import Answer
from examples.events import USUAL, Object, events, text
from examples.provider import Answers
from sidecar.core.records import CredentialKind, Ended, Prompt, Record, Started, Tokens, Tool

PATH = "/openai/v1/responses"
_WORDS = "Envoy carries every byte while the sidecar reads along and keeps what must be accounted for. "
_REQUEST_ID = (("x-request-id", "req_" + "4f" * 16),)
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
_STREAMS = re.compile(rb'"stream": ?true')  # a gateway that writes JSON anew leaves the blanks out
# What the official client sends (openai-python), as an authenticating proxy in front hands it on.
_HEADERS = """\
host: bridge.example
accept: application/json
accept-encoding: gzip, deflate
content-type: application/json
user-agent: OpenAI/Python 3.54.0
x-stainless-lang: python
x-stainless-package-version: 3.54.0
x-stainless-os: Linux
x-stainless-arch: x64
x-stainless-runtime: CPython
x-stainless-runtime-version: 3.12.3
x-stainless-async: async:asyncio
x-stainless-retry-count: 0
x-stainless-read-timeout: 600
authorization: Bearer sk-bench-000000000000000000000000
x-forwarded-user: alice@example.com
"""


def request(*, stream: bool, sampled: bool | None = None, size: int = 1024, more: str = "") -> bytes:
    """One request of about `size` bytes of body, at least 1 KiB, as it goes over an HTTP/1.1 connection.

    `sampled`: whether the trace that it belongs to is; None: it says nothing of a trace. What is longer has a longer
    history, as an agent's request has. `more`: lines of headers, each with its end.
    """
    asked: Object = {
        "model": "gpt-5-mini",
        "instructions": "You are a careful reviewer. " * 8,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "What is this? " + _WORDS * 7}]}],
        "metadata": {"ticket": "OPS-1234"},
        "stream": stream,
    }
    said = {"role": "assistant", "content": [{"type": "output_text", "text": _WORDS * 10}]}
    history = [said] * ((size - len(json.dumps(asked))) // (len(json.dumps(said)) + 2))
    body = json.dumps({**asked, "input": [*history, *asked["input"]]}).encode()
    trace = "" if sampled is None else f"traceparent: {_TRACE}-{sampled:02x}\n"
    head = f"POST {PATH} HTTP/1.1\n{_HEADERS}{trace}{more}content-length: {len(body)}\n\n"
    return head.replace("\n", "\r\n").encode() + body


def document() -> bytes:
    """The JSON answer, about 2 KiB."""
    return text(_response(_WORDS * 10))


def pieces(count: int) -> tuple[bytes, ...]:
    """The streamed answer: `count` events, at least 10, nearly all of them text deltas of some 250 bytes."""
    bare = sum(1 for _ in events(_response("")))
    spoken = " ".join(islice(_endless(_WORDS.split()), count - bare))
    told = tuple(_sent(event) for event in events(_response(spoken), words=1))
    assert len(told) == count  # noqa: S101 - one word an event
    return told


def interception(name: str, at: float) -> tuple[Started, tuple[Record, ...]]:
    """What is recorded of one exchange that started `at` and called a tool: its start, and the rest."""
    started = Started(
        interception=name,
        at=at,
        initiator="alice@example.com",
        actor_metadata={},
        provider="openai",
        provider_name="openai",
        model="gpt-5-mini",
        streaming=True,
        client="Codex",
        client_session="019ab3c4-7d2e-7b11-9a3f-2f6f0c1d5e77",
        user_agent="codex_cli_rs/0.60.1 (Ubuntu 24.4.0; x86_64) xterm-256color",
        correlating_tool_call=None,
        credential_kind=CredentialKind.CENTRALIZED,
        credential_hint="sk-b...0000",
        request_path=PATH,
        request_id=name,
        prompt=_WORDS * 7,
        read_at=at,
    )
    common = {"interception": name, "at": at + 1, "msg_id": f"resp_{'6b' * 25}"}
    tokens = {"input": 210, "output": 321, "cache_read": 1024, "cache_write": 0, "extra": {"total_tokens": 1555}}
    call = {"item_id": f"fc_{'5c' * 25}", "tool_call_id": "call_9d8f7e6d5c4b3a29", "kind": "function_call"}
    rest = (
        Prompt(**common, text=_WORDS * 7),
        Tokens(**common, **tokens, provider_model="gpt-5-mini-2026-01-01", service_tier="default"),
        Tool(**common, **call, name="shell", input='{"command":["bash","-lc","ls"]}'),
        Ended(interception=name, at=at + 1, failure=None, http_status=200, provider_request_id="req_4f"),
    )
    return started, rest


def answers(count: int, pace: float, delay: float) -> Answers:
    """What the provider answers: a document, after `delay` seconds; to who asks for a stream `count` events.

    Each comes `pace` seconds after the one before.
    """
    whole = Answer(body=document(), headers=_REQUEST_ID, hang=delay)
    streamed = Answer(
        body=pieces(count), content_type="text/event-stream; charset=utf-8", headers=_REQUEST_ID, pace=pace
    )
    return lambda seen: streamed if _STREAMS.search(seen.body) else whole


def _response(spoken: str) -> Object:
    part = {"type": "output_text", "text": spoken, "annotations": [], "logprobs": []}
    item = {"id": f"msg_{'7a' * 25}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    usage = {
        "input_tokens": 1234,
        "input_tokens_details": {"cached_tokens": 1024},
        "output_tokens": 321,
        "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 1555,
    }
    return {"id": f"resp_{'6b' * 25}", **USUAL, "model": "gpt-5-mini-2026-01-01", "output": [item], "usage": usage}


def _sent(event: Object) -> bytes:
    """An event with its fields in the order of the API, which pads deltas against eavesdroppers."""
    padding = {"obfuscation": "Vh1q7Lx0"} if event["type"].endswith(".delta") else {}
    first = {key: event[key] for key in ("type", "sequence_number")}
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), text({**first, **event, **padding}))


def _endless(words: list[str]) -> Iterator[str]:
    while True:
        yield from words
