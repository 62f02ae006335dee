"""The four requests, by the official client, and what it got."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import openai
from openai import Omit
from openai.resources.responses import Responses
from openai.types.responses import (
    FunctionToolParam,
    Response,
    ResponseCompletedEvent,
    ResponseFailedEvent,
    ResponseFunctionToolCall,
    ResponseIncompleteEvent,
)

Headers = Mapping[str, str | Omit]
Call = Callable[[Responses, str, Headers], object]

OK = 200
_NOT_IMPLEMENTED = 501
_PROMPT = "Reply with one word: pong"
_TOOL_PROMPT = "What is the weather in Paris? Ask the tool."
_TOOL: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the client got. `error` None: nothing was wrong; `http_status` None: no answer came."""

    http_status: int | None
    error: str | None = None
    response: Response | None = None

    @property
    def calls(self) -> tuple[ResponseFunctionToolCall, ...]:
        """The tool calls in the response."""
        items = self.response.output if self.response else ()
        return tuple(item for item in items if isinstance(item, ResponseFunctionToolCall))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, and what is the right answer to it: `http_status`, and a tool call where `tool` says so."""

    name: str
    call: Call
    prompt: str = _PROMPT
    streaming: bool = False
    tool: bool = False
    http_status: int = OK

    def seen(self, api: Responses, model: str, headers: Headers) -> Seen:
        """Send it. What goes wrong is what was seen, too."""
        try:
            answer = self.call(api, model, headers)
        except openai.APIStatusError as error:
            return Seen(http_status=error.status_code, error=_refused(error))
        except openai.APITimeoutError:
            return Seen(http_status=None, error="no answer in time")
        except openai.APIConnectionError:
            return Seen(http_status=None, error="the connection broke")
        except (openai.APIError, ValueError):
            return Seen(http_status=OK, error="an error in the answer, or one that cannot be read")
        if not isinstance(answer, Response):
            return Seen(http_status=OK, error="an answer without a response")
        wrong = "the response failed" if answer.status == "failed" else None
        return Seen(http_status=OK, error=wrong, response=answer)

    def is_right(self, seen: Seen) -> bool:
        """Whether that is what should have come back."""
        if self.http_status != OK:
            return seen.http_status == self.http_status
        return seen.error is None and (not self.tool or bool(seen.calls))


def _refused(error: openai.APIStatusError) -> str:
    """The bridge's own words; of a provider's only the names, for its message may quote keys."""
    body = error.body if isinstance(error.body, dict) else {}
    if body.get("code") == str(error.status_code):
        return f"{error.status_code} {body.get('message')}"
    return " ".join(str(word) for word in (error.status_code, body.get("type"), body.get("code")) if word)


def _whole(api: Responses, model: str, headers: Headers) -> object:
    return api.create(model=model, input=_PROMPT, store=False, extra_headers=headers)


def _streamed(api: Responses, model: str, headers: Headers) -> object:
    last = None
    with api.create(model=model, input=_PROMPT, store=False, stream=True, extra_headers=headers) as events:
        for event in events:
            if isinstance(event, ResponseCompletedEvent | ResponseIncompleteEvent | ResponseFailedEvent):
                last = event.response
    return last


def _tool_call(api: Responses, model: str, headers: Headers) -> object:
    return api.create(
        model=model,
        input=_TOOL_PROMPT,
        tools=[_TOOL],
        tool_choice={"type": "function", "name": _TOOL["name"]},
        store=False,
        extra_headers=headers,
    )


def _background(api: Responses, model: str, headers: Headers) -> object:
    # What is not stored cannot run in the background: should it get past the bridge, the provider refuses it.
    return api.create(model=model, input=_PROMPT, background=True, store=False, extra_headers=headers)


ASKS = (
    Ask(name="JSON", call=_whole),
    Ask(name="streaming", call=_streamed, streaming=True),
    Ask(name="tool call", call=_tool_call, prompt=_TOOL_PROMPT, tool=True),
    Ask(name="background", call=_background, http_status=_NOT_IMPLEMENTED),
)
