"""Names of attributes that more than one place knows.

Pinned, all of them in development: no package of constants exists that does not deprecate its own.

genai          OpenTelemetry semantic-conventions 1.41, the last version that had the GenAI ones
genai-next     the repository `semantic-conventions-genai` as of November 2026: `CACHE_WRITE_TOKENS` is a new name for
               `CACHE_CREATION_TOKENS`; `REASONING_LEVEL` and `PREVIOUS_RESPONSE` are new, and told in both profiles
openinference  OpenInference's `semantic_conventions.md` as of November 2026
"""

from typing import Final

SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE: Final = "service.instance.id"

ERROR_TYPE: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
SESSION: Final = "session.id"
USER: Final = "user.id"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
CONVERSATION: Final = "gen_ai.conversation.id"
OUTPUT_TYPE: Final = "gen_ai.output.type"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
PREVIOUS_RESPONSE: Final = "gen_ai.request.previous_response.id"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
TEMPERATURE: Final = "gen_ai.request.temperature"
TOP_P: Final = "gen_ai.request.top_p"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"  # seconds
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
API_TYPE: Final = "openai.api.type"
REQUEST_TIER: Final = "openai.request.service_tier"
RESPONSE_TIER: Final = "openai.response.service_tier"

LLM_KIND: Final = "openinference.span.kind"
LLM_SYSTEM: Final = "llm.system"
LLM_PROVIDER: Final = "llm.provider"
LLM_MODEL: Final = "llm.model_name"
LLM_REQUEST_MODEL: Final = "llm.request.model_name"
LLM_RESPONSE_MODEL: Final = "llm.response.model_name"
LLM_PARAMETERS: Final = "llm.invocation_parameters"
LLM_FINISH_REASON: Final = "llm.finish_reason"
LLM_PROMPT_TOKENS: Final = "llm.token_count.prompt"
LLM_COMPLETION_TOKENS: Final = "llm.token_count.completion"
LLM_TOTAL_TOKENS: Final = "llm.token_count.total"
LLM_CACHE_READ_TOKENS: Final = "llm.token_count.prompt_details.cache_read"
LLM_CACHE_WRITE_TOKENS: Final = "llm.token_count.prompt_details.cache_write"
LLM_REASONING_TOKENS: Final = "llm.token_count.completion_details.reasoning"
LLM_INPUT: Final = "input.value"
LLM_INPUT_TYPE: Final = "input.mime_type"
LLM_OUTPUT: Final = "output.value"
LLM_OUTPUT_TYPE: Final = "output.mime_type"
LLM_INPUT_MESSAGE: Final = "llm.input_messages.0.message"
LLM_OUTPUT_MESSAGE: Final = "llm.output_messages.0.message"

# What those who look after AI gateways already query: no convention's names.
REQUEST_PATH: Final = "request_path"
INTERCEPTION: Final = "interception_id"
ACTOR: Final = "user_id"
INSTANCE: Final = "provider"
MODEL: Final = "model"
STREAMING: Final = "streaming"
CLIENT: Final = "client"
PASSTHROUGH_URL: Final = "passthrough_url"
PASSTHROUGH_METHOD: Final = "passthrough_method"
PASSTHROUGH_UPSTREAM: Final = "passthrough_upstream_url"
DROPPED: Final = "dropped_records"  # seen and recorded, but too many to have a span each
