"""What Envoy itself answers, in JSON: `{"code":"<status>","message":…}`, both strings.

A text format and not a JSON format, which would make a number of the status. The messages are ours, for Envoy's own
text names addresses and, when the sidecar fails, quotes its exception.
"""

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLogFilter, ExtensionFilter
from envoy_data_plane.envoy.config.core.v3 import DataSource, HeaderValueOption, SubstitutionFormatString
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)

from sidecar.bootstrap.messages import overwritten, packed
from sidecar.core.replies import DETAILS, NAMESPACE
from sidecar.settings import Settings

NOT_FOUND = "no such route"
NO_UPGRADES = "upgrades are not supported; use HTTP requests"

_DETAILS = "response.code_details"
_TOO_MUCH = "too much to do, try again soon"
_NO_VERDICT = "the sidecar gave no verdict on this request"
_NO_KEYS = "the keys of who issues tokens could not be fetched"
# Envoy would say `error="invalid_token"`, and a client throw a good one away.
_NOT_THE_TOKENS_FAULT = overwritten("www-authenticate", "Bearer")

_Reply = tuple[str, int | None, str | None, *tuple[HeaderValueOption, ...]]  # when; status, message, headers instead
# The first that holds decides. None: as it is.
_REPLIES: tuple[_Reply, ...] = (
    (f"{_DETAILS} == '{DETAILS}' || {_DETAILS} == 'direct_response'", None, None),
    (f"{_DETAILS} == 'upgrade_failed'", 426, NO_UPGRADES),
    # Where a mesh has no route of ours, RBAC speaks before the router can.
    (f"{_DETAILS}.startsWith('rbac_access_denied') && !has(xds.route_name)", 404, NOT_FOUND),
    (f"{_DETAILS}.startsWith('rbac_access_denied')", 500, _NO_VERDICT),
    (f"{_DETAILS}.startsWith('health_check') && response.code >= 400", None, "not ready"),
    (f"{_DETAILS}.contains('Jwks_remote_fetch_is_failed')", 503, _NO_KEYS, _NOT_THE_TOKENS_FAULT),
    # Nobody else says 401 here: who asks has not proved it. (A token for others is a 403 of Envoy's.)
    (f"{_DETAILS}.startsWith('jwt_authn') || response.code == 401", 401, "no valid credential for this bridge"),
    (f"{_DETAILS} == 'overload'", 503, _TOO_MUCH),  # 500 by itself where it hears no more of HTTP/1.1
    (f"{_DETAILS} == 'low_version'", None, "HTTP/1.0 is not spoken here; use HTTP/1.1 or HTTP/2"),
    ("response.code == 413", None, "request body too large"),
    ("response.code == 431", None, "request headers too large"),
    ("response.code == 503", None, "the provider could not be reached, or hung up before it answered"),
    ("response.code == 504", None, "the provider did not answer in time"),
    ("response.code == 408", None, "the request did not arrive in time"),
    ("response.code >= 500", None, "the request could not be served"),
    ("response.code >= 400", None, "bad request"),
)
# Where ext_proc fails closed, it refuses before RBAC does: with 504 when the sidecar hangs, 500 else. Once there was a
# verdict the provider may have answered, and nobody has been told anything yet.
_FAILED = f"{_DETAILS}.startsWith('ext_proc_error')"
_CUT: tuple[_Reply, ...] = (
    (f"{_FAILED} && '{NAMESPACE}' in metadata.filter_metadata", 500, "the response could not be recorded"),
    (_FAILED, 500, _NO_VERDICT),
)


def local_replies(settings: Settings) -> LocalReplyConfig:
    """Every error that Envoy makes, in our form; the sidecar's own refusals as they are."""
    replies = _REPLIES if settings.recorder.on_worker_loss == "deliver" else (*_CUT, *_REPLIES)
    return LocalReplyConfig(mappers=[_mapper(*reply) for reply in replies])


def body(code: str, message: str) -> str:
    """The body of an error; `code` as a string, `message` without quotes."""
    return f'{{"code":"{code}","message":"{message}"}}'


def _mapper(expression: str, status: int | None, message: str | None, *headers: HeaderValueOption) -> ResponseMapper:
    return ResponseMapper(
        filter=AccessLogFilter(
            extension_filter=ExtensionFilter(
                name="envoy.access_loggers.extension_filters.cel",
                typed_config=packed(ExpressionFilter(expression=expression)),
            )
        ),
        status_code=status,
        headers_to_add=list(headers),
        body_format_override=_format(message) if message else None,
    )


def _format(message: str) -> SubstitutionFormatString:
    return SubstitutionFormatString(
        text_format_source=DataSource(inline_string=body("%RESPONSE_CODE%", message)),
        content_type="application/json",
    )
