"""What is worth keeping of an interception. Values only: row ids and storage live with the recorder.

Times are seconds since the epoch. Texts are already clean (`text.clean`): no lone surrogate, no U+0000, bounded.
`interception` is the interception's id (UUIDv7 text).
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct


class ErrorType(StrEnum):
    """Why an interception failed."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    REJECTED = "rejected"
    DISCONNECTED = "disconnected"
    UNOBSERVED = "unobserved"
    LOST = "lost"
    UNREAD = "unread"
    UNKNOWN = "unknown"


class CredentialKind(StrEnum):
    """Whose key went to the provider."""

    BYOK = "byok"
    CENTRALIZED = "centralized"


class Failure(Struct, frozen=True, kw_only=True):
    """What went wrong, in our own words; never the provider's message."""

    type: ErrorType
    message: str


class Parameters(Struct, frozen=True, kw_only=True):
    """What a request asks for beside content (API reference: POST /v1/responses). Not stored; None: not said."""

    reasoning_level: str | None = None
    previous_response: str | None = None
    conversation: str | None = None
    service_tier: str | None = None
    output_type: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None


class Answered(Struct, frozen=True, kw_only=True):
    """What a response says of itself (API reference: the Response object). Not stored; empty or None: not said.

    `first_at`: when the first bytes of its body came.
    """

    response: str = ""
    model: str | None = None
    service_tier: str | None = None
    status: str | None = None
    incomplete_reason: str | None = None
    first_at: float | None = None


class Started(Struct, frozen=True, kw_only=True):
    """A request that was understood and is about to be decided. `at`: when its headers arrived."""

    interception: str
    at: float
    initiator: str
    actor_metadata: Mapping[str, str]
    provider: str  # its type: "openai"
    provider_name: str
    model: str
    streaming: bool
    client: str
    client_session: str | None
    user_agent: str | None
    correlating_tool_call: str | None
    credential_kind: CredentialKind
    credential_hint: str
    request_path: str
    request_id: str | None
    prompt: str | None  # held by the row while the interception is open, so that a crash cannot lose it
    read_at: float  # when the request had been read: the end of `Intercept.CreateInterceptor`
    trace_id: str | None = None  # of the trace that Envoy passes on: 32 hexadecimal digits
    parameters: Parameters = Parameters()


class Forwarded(Struct, frozen=True, kw_only=True):
    """The verdict was to let the request pass. Not stored: the spans' `Upstream` begins here."""

    interception: str
    at: float


class Prompt(Struct, frozen=True, kw_only=True):
    """What the user asked. `msg_id`: the response id, empty when none was seen."""

    interception: str
    at: float
    msg_id: str
    text: str


class Tokens(Struct, frozen=True, kw_only=True):
    """The provider's own count; never estimated. `input` excludes what was read from or written to the cache."""

    interception: str
    at: float
    msg_id: str
    input: int
    output: int
    cache_read: int
    cache_write: int
    extra: Mapping[str, int]
    provider_model: str | None
    service_tier: str | None


class Tool(Struct, frozen=True, kw_only=True):
    """A tool the model called. `input`: JSON text (a string is encoded too); None when there is none."""

    interception: str
    at: float
    msg_id: str
    item_id: str | None
    tool_call_id: str | None
    kind: str
    name: str
    input: str | None
    server_url: str | None = None
    injected: bool = False
    invocation_error: str | None = None


class Thought(Struct, frozen=True, kw_only=True):
    """What the model said to itself. `source`: `reasoning_summary` or `commentary`."""

    interception: str
    at: float
    msg_id: str
    source: str
    text: str


class Ended(Struct, frozen=True, kw_only=True):
    """The interception's one end. `failure` None: completed."""

    interception: str
    at: float
    failure: Failure | None
    http_status: int | None
    provider_request_id: str | None
    answered: Answered = Answered()


class Passed(Struct, frozen=True, kw_only=True):
    """A passthrough request: not stored, but traced. `url` is upstream's, without its query."""

    at: float
    ended_at: float
    actor: str
    provider_name: str
    method: str
    path: str
    url: str
    http_status: int | None


Record = Started | Forwarded | Prompt | Tokens | Tool | Thought | Ended | Passed
