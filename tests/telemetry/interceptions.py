"""Records of one interception, for the tests beside; every text that is content says CANARY."""

from sidecar.core.records import (
    Answered,
    CredentialKind,
    Ended,
    ErrorType,
    Failure,
    Forwarded,
    Parameters,
    Passed,
    Prompt,
    Started,
    Thought,
    Tokens,
    Tool,
)

T = 1_800_000_000.0
ID = "019a0000-0000-7000-8000-000000000001"

STARTED = Started(
    interception=ID,
    at=T,
    initiator="alice",
    actor_metadata={"team": "CANARY-metadata"},
    provider="openai",
    provider_name="openai-eu",
    model="gpt-5",
    streaming=True,
    client="Codex",
    client_session="session-1",
    user_agent="CANARY-agent",
    correlating_tool_call="CANARY-call",
    credential_kind=CredentialKind.BYOK,
    credential_hint="CANARY-hint",
    request_path="/openai-eu/v1/responses",
    request_id="CANARY-request-id",
    prompt="CANARY-open-prompt",
    read_at=T + 0.25,
    parameters=Parameters(
        reasoning_level="high",
        previous_response="resp_0",
        conversation="conv_1",
        service_tier="flex",
        output_type="json_schema",
        max_tokens=500,
        temperature=0.5,
        top_p=1.0,
    ),
)
FORWARDED = Forwarded(interception=ID, at=T + 0.75)
PROMPT = Prompt(interception=ID, at=T + 4, msg_id="resp_1", text="CANARY-prompt")
TOKENS = Tokens(
    interception=ID,
    at=T + 4,
    msg_id="resp_1",
    input=100,
    output=30,
    cache_read=40,
    cache_write=2,
    extra={"input_cached": 40, "output_reasoning": 10, "total_tokens": 172},
    provider_model="gpt-5-2026-10-01",
    service_tier="default",
)
TOOL = Tool(
    interception=ID,
    at=T + 4,
    msg_id="resp_1",
    item_id="fc_1",
    tool_call_id="call_1",
    kind="function_call",
    name="CANARY-tool",
    input='{"path":"CANARY-input"}',
)
THOUGHT = Thought(interception=ID, at=T + 4, msg_id="resp_1", source="reasoning_summary", text="CANARY-thought")
ANSWERED = Answered(
    response="resp_1", model="gpt-5-2026-10-01", service_tier="default", status="completed", first_at=T + 1.25
)
ENDED = Ended(
    interception=ID,
    at=T + 4,
    failure=None,
    http_status=200,
    provider_request_id="CANARY-provider-request",
    answered=ANSWERED,
)
REFUSED = Ended(
    interception=ID,
    at=T + 0.5,
    failure=Failure(type=ErrorType.REJECTED, message="background requests are not supported"),
    http_status=501,
    provider_request_id=None,
)
LIMITED = Ended(
    interception=ID,
    at=T + 2,
    failure=Failure(type=ErrorType.RATE_LIMITED, message="the provider answered 429: rate_limit_exceeded"),
    http_status=429,
    provider_request_id=None,
)
PASSED = Passed(
    at=T,
    ended_at=T + 0.5,
    actor="alice",
    provider_name="openai-eu",
    method="GET",
    path="/openai-eu/v1/models?after=CANARY",
    url="https://api.openai.com/v1/models",
    http_status=200,
)

COMMON = {
    "request_path": "/openai-eu/v1/responses",
    "interception_id": "019a0000-0000-7000-8000-000000000001",
    "user_id": "alice",
    "provider": "openai-eu",
    "model": "gpt-5",
    "streaming": True,
}
CLIENT = {"client": "Codex", "session.id": "session-1"}
REQUEST = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "openai.api.type": "responses",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.request.stream": True,
    "gen_ai.conversation.id": "conv_1",
    "gen_ai.request.previous_response.id": "resp_0",
    "gen_ai.request.reasoning.level": "high",
    "gen_ai.request.max_tokens": 500,
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.top_p": 1.0,
    "gen_ai.output.type": "json",
    "openai.request.service_tier": "flex",
}
ANSWER = {
    "gen_ai.response.id": "resp_1",
    "gen_ai.response.model": "gpt-5-2026-10-01",
    "openai.response.service_tier": "default",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.response.time_to_first_chunk": 0.5,
}
USAGE = {
    "gen_ai.usage.input_tokens": 142,
    "gen_ai.usage.output_tokens": 30,
    "gen_ai.usage.cache_read.input_tokens": 40,
    "gen_ai.usage.cache_creation.input_tokens": 2,
    "gen_ai.usage.reasoning.output_tokens": 10,
}
CALLS = {"gen_ai.response.finish_reasons": ("tool_calls",)}
