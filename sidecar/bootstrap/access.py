"""The access log: one JSON line a request, whatever becomes of the sidecar. No credential, no query, no content."""

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import SubstitutionFormatString
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.google.protobuf import Struct

from sidecar.bootstrap.filters import CLIENT_PATH
from sidecar.bootstrap.messages import packed
from sidecar.core.replies import NAMESPACE
from sidecar.settings import Settings

# How the sidecar's calls went, as gRPC status codes: "0" is well, null not called. One that is not well at a response
# marks an answer that was not seen to its end.
_STEPS = {
    "request_headers": "request_header_call_status",
    "request_body": "request_body_last_call_status",
    "response_headers": "response_header_call_status",
    "response_body": "response_body_last_call_status",
}
_FIELDS = {
    "time": "%START_TIME%",
    "request_id": "%REQ(x-request-id)%",
    "interception": f"%DYNAMIC_METADATA({NAMESPACE}:interception)%",
    "actor": f"%DYNAMIC_METADATA({NAMESPACE}:actor)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "method": "%REQ(:method)%",
    "path": CLIENT_PATH,
    "route": "%ROUTE_NAME%",
    "upstream": "%UPSTREAM_HOST%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "sidecar": {step: f"%FILTER_STATE(envoy.filters.http.ext_proc:FIELD:{field})%" for step, field in _STEPS.items()},
}


def access_log(settings: Settings) -> AccessLog:
    """`access.log` in the runtime directory."""
    line = SubstitutionFormatString(json_format=Struct.from_dict(_FIELDS))
    path = str(settings.runtime_dir / "access.log")
    return AccessLog(name="envoy.access_loggers.file", typed_config=packed(FileAccessLog(path=path, log_format=line)))
