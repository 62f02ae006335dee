"""Four requests by the official client, as any program would send them, and what it saw."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import openai
from openai import DefaultHttpxClient, Omit, OpenAI
from openai.types.responses import (
    FunctionToolParam,
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseTextDeltaEvent,
)

MODEL = "example-large"
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Oslo"]}, "days": {"type": "integer"}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its answer, in the client's eyes. `usage`: input (cached ones included) and output tokens."""

    name: str
    prompt: str
    answer: str
    usage: tuple[int, int] | None = None
    tool: str | None = None
    status: int = 200


class Client:
    """The official client for somebody called `actor`; `bodies` are those it sent, in their order."""

    def __init__(self, base_url: str, actor: str) -> None:
        self.bodies: list[bytes] = []
        # Without the environment's proxies: nothing leaves this machine.
        http = DefaultHttpxClient(trust_env=False, event_hooks={"request": [self._sent]})
        self._client = OpenAI(base_url=base_url, api_key="none", http_client=http)
        # Without `Authorization` the bridge's key is used; and the actor is what an authenticating filter would set.
        self._headers: Mapping[str, str | Omit] = {"Authorization": Omit(), "x-forwarded-user": actor}

    def exchanges(self) -> tuple[Callable[[], Exchange], ...]:
        """The four requests, to be sent one after the other."""
        return self.whole, self.streamed, self.tool_call, self.background

    def close(self) -> None:
        """Let go of its connections."""
        self._client.close()

    def whole(self) -> Exchange:
        """An answer as JSON."""
        prompt = "Who carries the bytes?"
        response = self._client.responses.create(model=MODEL, input=prompt, extra_headers=self._headers)
        return _exchange("JSON", prompt, response, response.output_text)

    def streamed(self) -> Exchange:
        """An answer as server-sent events."""
        prompt = "And who reads along?"
        begun, first, pieces, last = time.monotonic(), 0.0, 0, None
        with self._client.responses.create(
            model=MODEL, input=prompt, stream=True, extra_headers=self._headers
        ) as events:
            for event in events:
                if isinstance(event, ResponseTextDeltaEvent):
                    pieces += 1
                    first = first or time.monotonic() - begun
                if isinstance(event, ResponseCompletedEvent):
                    last = event.response
        took = time.monotonic() - begun
        if last is None:
            msg = "the stream ended without its last event"
            raise ValueError(msg)
        answer = f"{last.output_text} ({pieces} pieces, the first after {first:.1f} s, the end after {took:.1f} s)"
        return _exchange("streaming", prompt, last, answer)

    def tool_call(self) -> Exchange:
        """An answer that asks for a tool."""
        prompt = "Will it rain in Oslo?"
        response = self._client.responses.create(
            model=MODEL, input=prompt, tools=[WEATHER], extra_headers=self._headers
        )
        calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
        return _exchange("tool call", prompt, response, "", *(f"{call.name}({call.arguments})" for call in calls))

    def background(self) -> Exchange:
        """A request that the bridge refuses, since nobody could read along."""
        prompt = "Think about it overnight."
        try:
            self._client.responses.create(model=MODEL, input=prompt, background=True, extra_headers=self._headers)
        except openai.APIStatusError as error:
            return Exchange(name="background", prompt=prompt, answer=_message(error), status=error.status_code)
        msg = "a background request was not refused"
        raise ValueError(msg)

    def _sent(self, request: object) -> None:
        self.bodies.append(bytes(getattr(request, "content", b"")))


def _message(error: openai.APIStatusError) -> str:
    return str(error.body.get("message")) if isinstance(error.body, dict) else str(error)


def _exchange(name: str, prompt: str, response: Response, answer: str, tool: str | None = None) -> Exchange:
    usage = (response.usage.input_tokens, response.usage.output_tokens) if response.usage else None
    return Exchange(name=name, prompt=prompt, answer=answer or tool or "", usage=usage, tool=tool)
