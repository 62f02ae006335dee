"""Texts that mean something to whoever writes or shows them carelessly, and an exchange that has one in every field."""

import json
from dataclasses import dataclass

from examples.answers import Answer
from examples.events import sse
from tests.e2e.exchanges import EVENT_STREAM, final

EVIL = {
    "lines": 'a\r\n{"event":"forged","level":"info"}\r\n\n\u2028\u2029\x85b',
    "json": '"}\n{"event":"forged"}\n{"a":"',
    "escapes": "\x1b[2J\x1b]0;owned\x07\x9b31m\b\b\x7f",
    "nul": "a\0b",
    "sql": "'); DROP TABLE interceptions; --",
    "more sql": "\" OR 1=1; UPDATE interceptions SET initiator_id = 'forged by SQL'; --",
    "html": "</td><script>alert('forged')</script><img src=x onerror=alert(1)>&amp;\"'",
    "templates": "{{ 7 * 191 }}{% include '/etc/passwd' %}${jndi:ldap://127.0.0.1/x}%n%s{0}",
    "markup": "[bold red]forged[/] [link=http://forged.example]x[/link]",
    "links": "javascript:alert('forged')",
    "a path": "../../../../../../etc/forged",
    "an absolute path": "/etc/forged",
    "a path with a NUL": "../forged\0.txt",
    "another system's path": "..\\..\\con:\\forged",
    "no name": "..",
    "a long name": "x" * 10_000,
    "bidi": "\u202eforged\u2066\ufeff\U000e0041",
}


def header(text: str) -> str:
    """What of `text` a header can carry."""
    return "".join(one for one in text if one.isprintable() and one.isascii())[:1000].strip() or "x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evil:
    """The exchange for one of them. `case` is what its request id begins with, and what the provider knows it by."""

    case: str
    text: str

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        plain = header(self.text)
        return (
            ("x-forwarded-user", plain),
            ("user-agent", f"claude {plain}"),
            ("x-request-id", f"{self.case} {plain}"),
        )

    @property
    def body(self) -> bytes:
        text = self.text
        asked = {
            "model": text,
            "input": [{"role": "user", "content": text}],
            "metadata": {"user_id": json.dumps({"session_id": text})},
            "reasoning": {"effort": text},
            "previous_response_id": text,
            "conversation": {"id": text},
            "service_tier": text,
            "text": {"format": {"type": text}},
            "stream": True,
        }
        return json.dumps(asked).encode()

    @property
    def answer(self) -> Answer:
        text = self.text
        call = {"type": "function_call", "id": text, "call_id": text, "name": text, "arguments": text}
        custom = {"type": "custom_tool_call", "id": text, "call_id": text, "name": text, "input": text}
        other = {"type": "mcp_call", "id": text, "name": text, "server_label": text, "error": text}
        thought = {"type": "reasoning", "id": text, "summary": [{"type": "summary_text", "text": text}]}
        said = {
            **final(text),
            "id": text,
            "model": text,
            "service_tier": text,
            "output": [thought, call, custom, other],
        }
        event = sse({"type": "response.completed", "response": said})
        return Answer(content_type=EVENT_STREAM, headers=(("x-request-id", header(text)),), body=(event,))
