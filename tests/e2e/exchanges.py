"""An exchange to try things on: a request, and an answer that can be held, cut and let die anywhere."""

from typing import Any

from examples.answers import Answer, json_answer
from examples.events import USUAL, events, sse

EVENT_STREAM = "text/event-stream; charset=utf-8"
ASKED = b'{"model":"aster-2","input":"What keeps the tide?"}'
ASKED_STREAM = b'{"model":"aster-2","input":"What keeps the tide?","stream":true}'
PROMPT = "What keeps the tide?"
FIRST = b'"type":"response.created"'
LAST = b'"type":"response.completed"'


def final(case: str) -> dict[str, Any]:
    """The response object; its id is `resp_` and the case."""
    part = {"type": "output_text", "text": "The moon, mostly.", "annotations": [], "logprobs": []}
    message = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 13,
    }
    return {**USUAL, "id": f"resp_{case}", "model": "aster-2", "output": [message], "usage": usage}


def whole(case: str, **how: Any) -> Answer:  # noqa: ANN401 - as `Answer` takes it
    """The answer as JSON."""
    return Answer(body=json_answer(final(case)).body, **how)


def streamed(case: str, **how: Any) -> Answer:  # noqa: ANN401 - as `Answer` takes it
    """The answer as a stream, an event a piece."""
    return Answer(content_type=EVENT_STREAM, body=pieces(case), **how)


def pieces(case: str) -> tuple[bytes, ...]:
    """The stream's events, the first and the last of them `FIRST` and `LAST`."""
    return tuple(sse(event) for event in events(final(case), words=1))
