"""A call to a provider as its span is to tell of it: the facts, which each profile says in its own words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sidecar.core.records import Ended, Prompt, Started, Thought, Tokens, Tool

Said: TypeAlias = Prompt | Tool | Thought

# What the client runs, and answers with another request; the provider runs the others by itself.
CLIENT_TOOLS = frozenset(
    {"function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call", "apply_patch_call"}
)
# `incomplete_details.reason` (API reference: the Response object), in the conventions' words.
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call. `started` without its prompt; `response`: the answer's id, empty where none was seen.

    `said`: what was said, where content may be told; else empty. `asks`: for what the client's tools give.
    """

    started: Started
    forwarded_at: float
    tokens: Tokens | None
    response: str
    asks: bool
    ended: Ended
    said: Sequence[Said] = ()

    @property
    def model(self) -> str | None:
        """The model that answered."""
        return self.ended.answered.model or (self.tokens.provider_model if self.tokens else None)

    @property
    def service_tier(self) -> str | None:
        """The tier in which it was answered."""
        return self.ended.answered.service_tier or (self.tokens.service_tier if self.tokens else None)

    @property
    def first_chunk(self) -> float | None:
        """Seconds until the first bytes of a stream; None for what is no stream, or has not begun."""
        first_at = self.ended.answered.first_at
        if first_at is None or not self.started.streaming:
            return None
        return max(0.0, first_at - self.forwarded_at)

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, in the conventions' words; None where it did not begin, or has not stopped yet."""
        answered = self.ended.answered
        if self.ended.failure is not None:
            return "error" if self.response else None
        match answered.status:
            case "completed":
                return "tool_calls" if self.asks else "stop"
            case "incomplete":
                return _INCOMPLETE.get(answered.incomplete_reason or "", "error")
            case "cancelled" | "failed":
                return "error"
        return None
