import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordRequest(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ...) -> None: ...

class RecordResponse(_message.Message):
    __slots__ = ("acknowledgements",)
    ACKNOWLEDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    acknowledgements: _containers.RepeatedCompositeFieldContainer[Acknowledgement]
    def __init__(self, acknowledgements: _Optional[_Iterable[_Union[Acknowledgement, _Mapping]]] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("id", "status")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Acknowledgement.Status]
        STATUS_DURABLE: _ClassVar[Acknowledgement.Status]
        STATUS_UNFIT: _ClassVar[Acknowledgement.Status]
    STATUS_UNSPECIFIED: Acknowledgement.Status
    STATUS_DURABLE: Acknowledgement.Status
    STATUS_UNFIT: Acknowledgement.Status
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: Acknowledgement.Status
    def __init__(self, id: _Optional[str] = ..., status: _Optional[_Union[Acknowledgement.Status, str]] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("id", "interception_id", "at", "started", "prompt", "token_usage", "tool_usage", "model_thought", "ended")
    ID_FIELD_NUMBER: _ClassVar[int]
    INTERCEPTION_ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_USAGE_FIELD_NUMBER: _ClassVar[int]
    TOOL_USAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_THOUGHT_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    id: str
    interception_id: str
    at: _timestamp_pb2.Timestamp
    started: Started
    prompt: Prompt
    token_usage: TokenUsage
    tool_usage: ToolUsage
    model_thought: ModelThought
    ended: Ended
    def __init__(self, id: _Optional[str] = ..., interception_id: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started: _Optional[_Union[Started, _Mapping]] = ..., prompt: _Optional[_Union[Prompt, _Mapping]] = ..., token_usage: _Optional[_Union[TokenUsage, _Mapping]] = ..., tool_usage: _Optional[_Union[ToolUsage, _Mapping]] = ..., model_thought: _Optional[_Union[ModelThought, _Mapping]] = ..., ended: _Optional[_Union[Ended, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("initiator_id", "actor_metadata", "provider", "provider_name", "model", "streaming", "client", "client_session_id", "user_agent", "correlating_tool_call_id", "credential_kind", "credential_hint", "request_path", "request_id", "worker", "open_prompt", "trace_id")
    class ActorMetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INITIATOR_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_METADATA_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STREAMING_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_AGENT_FIELD_NUMBER: _ClassVar[int]
    CORRELATING_TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_KIND_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_HINT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_PATH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    OPEN_PROMPT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    initiator_id: str
    actor_metadata: _containers.ScalarMap[str, str]
    provider: str
    provider_name: str
    model: str
    streaming: bool
    client: str
    client_session_id: str
    user_agent: str
    correlating_tool_call_id: str
    credential_kind: str
    credential_hint: str
    request_path: str
    request_id: str
    worker: str
    open_prompt: str
    trace_id: str
    def __init__(self, initiator_id: _Optional[str] = ..., actor_metadata: _Optional[_Mapping[str, str]] = ..., provider: _Optional[str] = ..., provider_name: _Optional[str] = ..., model: _Optional[str] = ..., streaming: _Optional[bool] = ..., client: _Optional[str] = ..., client_session_id: _Optional[str] = ..., user_agent: _Optional[str] = ..., correlating_tool_call_id: _Optional[str] = ..., credential_kind: _Optional[str] = ..., credential_hint: _Optional[str] = ..., request_path: _Optional[str] = ..., request_id: _Optional[str] = ..., worker: _Optional[str] = ..., open_prompt: _Optional[str] = ..., trace_id: _Optional[str] = ...) -> None: ...

class Prompt(_message.Message):
    __slots__ = ("msg_id", "text")
    MSG_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    msg_id: str
    text: str
    def __init__(self, msg_id: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class TokenUsage(_message.Message):
    __slots__ = ("msg_id", "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "extra", "provider_model", "service_tier")
    class ExtraEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MSG_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_READ_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    msg_id: str
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    extra: _containers.ScalarMap[str, int]
    provider_model: str
    service_tier: str
    def __init__(self, msg_id: _Optional[str] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cache_read_input_tokens: _Optional[int] = ..., cache_write_input_tokens: _Optional[int] = ..., extra: _Optional[_Mapping[str, int]] = ..., provider_model: _Optional[str] = ..., service_tier: _Optional[str] = ...) -> None: ...

class ToolUsage(_message.Message):
    __slots__ = ("msg_id", "item_id", "tool_call_id", "kind", "tool", "input", "server_url", "injected", "invocation_error")
    MSG_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    SERVER_URL_FIELD_NUMBER: _ClassVar[int]
    INJECTED_FIELD_NUMBER: _ClassVar[int]
    INVOCATION_ERROR_FIELD_NUMBER: _ClassVar[int]
    msg_id: str
    item_id: str
    tool_call_id: str
    kind: str
    tool: str
    input: str
    server_url: str
    injected: bool
    invocation_error: str
    def __init__(self, msg_id: _Optional[str] = ..., item_id: _Optional[str] = ..., tool_call_id: _Optional[str] = ..., kind: _Optional[str] = ..., tool: _Optional[str] = ..., input: _Optional[str] = ..., server_url: _Optional[str] = ..., injected: _Optional[bool] = ..., invocation_error: _Optional[str] = ...) -> None: ...

class ModelThought(_message.Message):
    __slots__ = ("msg_id", "source", "content")
    MSG_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    msg_id: str
    source: str
    content: str
    def __init__(self, msg_id: _Optional[str] = ..., source: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class Ended(_message.Message):
    __slots__ = ("status", "error_type", "error_message", "http_status", "provider_request_id")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    status: str
    error_type: str
    error_message: str
    http_status: int
    provider_request_id: str
    def __init__(self, status: _Optional[str] = ..., error_type: _Optional[str] = ..., error_message: _Optional[str] = ..., http_status: _Optional[int] = ..., provider_request_id: _Optional[str] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("since", "until")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    since: str
    until: str
    def __init__(self, since: _Optional[str] = ..., until: _Optional[str] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("total", "actor", "model", "client", "day", "prices")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    total: Usage
    actor: _containers.RepeatedCompositeFieldContainer[Usage]
    model: _containers.RepeatedCompositeFieldContainer[Usage]
    client: _containers.RepeatedCompositeFieldContainer[Usage]
    day: _containers.RepeatedCompositeFieldContainer[Usage]
    prices: Prices
    def __init__(self, total: _Optional[_Union[Usage, _Mapping]] = ..., actor: _Optional[_Iterable[_Union[Usage, _Mapping]]] = ..., model: _Optional[_Iterable[_Union[Usage, _Mapping]]] = ..., client: _Optional[_Iterable[_Union[Usage, _Mapping]]] = ..., day: _Optional[_Iterable[_Union[Usage, _Mapping]]] = ..., prices: _Optional[_Union[Prices, _Mapping]] = ...) -> None: ...

class Prices(_message.Message):
    __slots__ = ("source", "date")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DATE_FIELD_NUMBER: _ClassVar[int]
    source: str
    date: str
    def __init__(self, source: _Optional[str] = ..., date: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("name", "interceptions", "failed", "open", "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "tool_calls", "cost", "unpriced")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INTERCEPTIONS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_READ_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_FIELD_NUMBER: _ClassVar[int]
    name: str
    interceptions: int
    failed: int
    open: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    tool_calls: int
    cost: str
    unpriced: int
    def __init__(self, name: _Optional[str] = ..., interceptions: _Optional[int] = ..., failed: _Optional[int] = ..., open: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cache_read_input_tokens: _Optional[int] = ..., cache_write_input_tokens: _Optional[int] = ..., tool_calls: _Optional[int] = ..., cost: _Optional[str] = ..., unpriced: _Optional[int] = ...) -> None: ...
