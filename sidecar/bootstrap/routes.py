"""Which requests go where: each provider under its name, everything else nowhere."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
)
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRateLimitedRetryBackOff,
    RetryPolicyResetHeader,
    RetryPolicyResetHeaderFormat,
    RetryPolicyRetryBackOff,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    RouteMatchConnectMatcher,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ExtProcOverrides, ExtProcPerRoute
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from sidecar.bootstrap import identity
from sidecar.bootstrap.clusters import cluster_name
from sidecar.bootstrap.messages import overwritten, packed, seconds
from sidecar.bootstrap.replies import NO_UPGRADES, NOT_FOUND, body
from sidecar.settings import Provider, Settings

# Nothing of these has reached a provider that could bill it.
_UNBILLED = ("connect-failure", "refused-stream", "reset-before-request")


def routes(settings: Settings) -> RouteConfiguration:
    """The one virtual host."""
    table = [_provider(provider, settings.limits.max_request_bytes) for provider in settings.providers]
    # CONNECT has no path, so no other route matches it.
    off = dict(_off(*identity.FILTERS[settings.identity.source], "rbac"))
    connect = _answer("connect", RouteMatch(connect_matcher=RouteMatchConnectMatcher()), 426, NO_UPGRADES, off)
    nowhere = _answer("nowhere", RouteMatch(prefix="/"), 404, NOT_FOUND, off)
    host = VirtualHost(name="aibridge", domains=["*"], routes=[connect, *table, nowhere])
    return RouteConfiguration(name="aibridge", virtual_hosts=[host])


def _provider(provider: Provider, max_request_bytes: int) -> Route:
    return Route(
        name=provider.name,
        match=RouteMatch(prefix=f"/{provider.name}/v1/"),
        route=RouteAction(
            cluster=cluster_name(provider),
            prefix_rewrite=f"{urlsplit(provider.base_url).path}/",
            host_rewrite_literal=_authority(provider),
            # A stream may take its time; for the others the sidecar says in a header how long they may take.
            timeout=seconds(0),
            retry_policy=_retries(provider) if provider.max_retries else None,
        ),
        request_body_buffer_limit=max_request_bytes,
        # Turns the filter on: the chain has it off.
        typed_per_filter_config={"envoy.filters.http.ext_proc": packed(ExtProcPerRoute(overrides=ExtProcOverrides()))},
    )


def _authority(provider: Provider) -> str:
    host = f"[{provider.host}]" if ":" in provider.host else provider.host
    return host if provider.port == (443 if provider.tls else 80) else f"{host}:{provider.port}"


def _retries(provider: Provider) -> RetryPolicy:
    codes = [int(entry) for entry in provider.retry_on if entry != "5xx"]
    conditions = [*_UNBILLED, *(["retriable-status-codes"] if codes else [])]
    # Envoy's own `5xx` also retries time-outs and resets, after which a provider may have billed.
    server_errors = [HeaderMatcher(name=":status", string_match=StringMatcher(prefix="5"))]
    return RetryPolicy(
        retry_on=",".join([*conditions, *(["retriable-headers"] if "5xx" in provider.retry_on else [])]),
        num_retries=provider.max_retries,
        retriable_status_codes=codes,
        retriable_headers=server_errors if "5xx" in provider.retry_on else [],
        retry_back_off=RetryPolicyRetryBackOff(base_interval=seconds(0.25), max_interval=seconds(8)),
        rate_limited_retry_back_off=_retry_after() if provider.retry_on else None,
    )


def _retry_after() -> RetryPolicyRateLimitedRetryBackOff:
    # What asks for more than the maximum is retried after the usual back-off, that is too soon; so the maximum is a
    # day, and the request's time-out ends the wait, or a stream's idle time-out; either with a 504.
    return RetryPolicyRateLimitedRetryBackOff(
        reset_headers=[RetryPolicyResetHeader(name="retry-after", format=RetryPolicyResetHeaderFormat.SECONDS)],
        max_interval=seconds(86_400),
    )


def _answer(name: str, match: RouteMatch, status: int, message: str, off: dict[str, Any]) -> Route:
    """What Envoy answers by itself, without the filters in `off`."""
    return Route(
        name=name,
        match=match,
        direct_response=DirectResponseAction(status=status, body=DataSource(inline_string=body(str(status), message))),
        response_headers_to_add=[overwritten("content-type", "application/json")],
        typed_per_filter_config=off,
    )


def _off(*names: str) -> Iterator[tuple[str, Any]]:
    for name in names:
        yield f"envoy.filters.http.{name}", packed(FilterConfig(disabled=True))
