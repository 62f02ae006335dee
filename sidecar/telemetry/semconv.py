"""Attribute names, spelt here and nowhere else.

Pinned to the OpenTelemetry GenAI conventions (repository `semantic-conventions-genai`) as of November 2026: no package
of constants exists for them, and `opentelemetry-semantic-conventions` deprecates all of its own. The names are those
of semantic-conventions 1.41 too, except `gen_ai.usage.cache_write.input_tokens` (there: `cache_creation`).
"""

from typing import Final

SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE: Final = "service.instance.id"

ERROR_TYPE: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
API_TYPE: Final = "openai.api.type"
SERVICE_TIER: Final = "openai.response.service_tier"

# What those who look after AI gateways already query: no convention's names.
REQUEST_PATH: Final = "request_path"
INTERCEPTION: Final = "interception_id"
ACTOR: Final = "user_id"
INSTANCE: Final = "provider"
MODEL: Final = "model"
STREAMING: Final = "streaming"
PASSTHROUGH_URL: Final = "passthrough_url"
PASSTHROUGH_METHOD: Final = "passthrough_method"
PASSTHROUGH_UPSTREAM: Final = "passthrough_upstream_url"
DROPPED: Final = "dropped_records"  # seen and recorded, but too many to have a span each
