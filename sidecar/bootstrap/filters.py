"""The HTTP filters, in the order in which a request meets them.

ext_proc fails open and RBAC closed: a request passes only with the sidecar's verdict, a response that is already on
its way outlives the sidecar. (ext_proc's own way to fail closed forwards a request when the sidecar hangs up politely.)
With `recorder.on_worker_loss = "cut"` both fail closed: what the sidecar has not seen to its end is cut.
"""

import json
from collections.abc import Iterator

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRules
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.rbac.v3 import (
    MetadataSource,
    Permission,
    Policy,
    Principal,
    Rbac,
    RbacAction,
    SourcedMetadata,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import FilterStateValue
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    ExternalProcessorRouteCacheAction,
    MetadataOptions,
    MetadataOptionsMetadataNamespaces,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as RbacFilter
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import Config as SetFilterState
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.matcher.v3 import (
    MetadataMatcher,
    MetadataMatcherPathSegment,
    RegexMatcher,
    StringMatcher,
    ValueMatcher,
)
from envoy_data_plane.envoy.type.v3 import Percent

from sidecar.bootstrap import identity
from sidecar.bootstrap.messages import SIDECAR, http_filter, packed, seconds
from sidecar.core.identity import CLIENT_HEADER
from sidecar.core.replies import DECISION, NAMESPACE
from sidecar.settings import Settings

# The path as the client sent it, without its query: the router leaves only the rewritten one, so a filter keeps it.
# What is refused before the filters run has not been rewritten.
_PATH_STATE = "aibridge.path"
_PATHS = [{"command": "FILTER_STATE", "param": f"{_PATH_STATE}:PLAIN"}, {"command": "PATH", "param": "NQ"}]
CLIENT_PATH = f"%COALESCE({json.dumps({'operators': _PATHS})})%"

_SEND, _SKIP = ProcessingModeHeaderSendMode.SEND, ProcessingModeHeaderSendMode.SKIP
_FULL = ProcessingMode(
    request_header_mode=_SEND,
    request_body_mode=ProcessingModeBodySendMode.BUFFERED,
    response_header_mode=_SEND,
    response_body_mode=ProcessingModeBodySendMode.STREAMED,
    request_trailer_mode=_SKIP,  # with them the last message of a buffered body would not say that it is the last
    response_trailer_mode=_SEND,  # else a response that ends with trailers has no end
)
# Compared with the complete effective mode, hence every field.
_HEADERS_ALONE = ProcessingMode(
    request_header_mode=_SEND,
    request_body_mode=ProcessingModeBodySendMode.NONE,
    response_header_mode=_SEND,
    response_body_mode=ProcessingModeBodySendMode.NONE,
    request_trailer_mode=_SKIP,
    response_trailer_mode=_SKIP,
)


def filters(settings: Settings) -> Iterator[HttpFilter]:
    """The chain."""
    yield http_filter("header_mutation", _unsaid())
    yield http_filter("health_check", _health())
    yield http_filter("set_filter_state", _path())
    yield from identity.filters(settings)
    # Off but where a route turns it on: Envoy would ask it about its answer to what is no HTTP, too, and not wait. What
    # no route has turned it on for has no verdict.
    ext_proc = http_filter("ext_proc", _ext_proc(settings))
    ext_proc.disabled = True
    yield ext_proc
    yield http_filter("rbac", _verdict(settings.verdict))
    yield http_filter("router", Router(suppress_envoy_headers=True))


def _unsaid() -> HeaderMutation:
    # While Envoy drains, the health check filter marks every response.
    names = ("x-envoy-immediate-health-check-fail", "x-envoy-upstream-healthchecked-cluster")
    return HeaderMutation(
        mutations=Mutations(
            request_mutations=[Mutation(remove=CLIENT_HEADER)],  # a filter's to say, behind this one
            response_mutations=[Mutation(remove=name) for name in names],
        )
    )


def _health() -> HealthCheck:
    """`GET /healthz`: 200 while one worker of 64 at least is healthy and Envoy is not told to fail."""
    return HealthCheck(
        pass_through_mode=False,
        cluster_min_healthy_percentages={SIDECAR: Percent(value=1.0)},
        headers=[_exact(":path", "/healthz"), _exact(":method", "GET")],
    )


def _exact(header: str, value: str) -> HeaderMatcher:
    return HeaderMatcher(name=header, string_match=StringMatcher(exact=value))


def _path() -> SetFilterState:
    text = SubstitutionFormatString(text_format_source=DataSource(inline_string="%PATH(NQ)%"))
    return SetFilterState(
        on_request_headers=[FilterStateValue(object_key=_PATH_STATE, factory_key="envoy.string", format_string=text)]
    )


def _ext_proc(settings: Settings) -> ExternalProcessor:
    return ExternalProcessor(
        grpc_service=_workers(),
        failure_mode_allow=settings.recorder.on_worker_loss == "deliver",
        message_timeout=seconds(5),  # also the longest that a hanging worker can hold a stream up
        processing_mode=_FULL,
        allow_mode_override=True,
        allowed_override_modes=[_HEADERS_ALONE],
        request_attributes=identity.attributes(settings),
        response_attributes=["response.code_details"],  # tells Envoy's own answers from the provider's
        metadata_options=_metadata(settings),
        mutation_rules=HeaderMutationRules(
            allow_envoy=True,  # the time-out of a request that does not stream is the sidecar's to set
            # A length that is not the body's would smuggle a second request.
            disallow_expression=RegexMatcher(regex="^(content-length|transfer-encoding|host|:.*)$"),
            disallow_is_error=True,
        ),
        route_cache_action=ExternalProcessorRouteCacheAction.RETAIN,
        allow_content_length_header=True,  # bodies are never changed
        stat_prefix=SIDECAR,
    )


def _metadata(settings: Settings) -> MetadataOptions:
    """What ext_proc hands on: the verdict from the sidecar, what filters before it found to the sidecar."""
    forwarded = identity.namespaces(settings)
    return MetadataOptions(
        forwarding_namespaces=MetadataOptionsMetadataNamespaces(untyped=forwarded) if forwarded else None,
        receiving_namespaces=MetadataOptionsMetadataNamespaces(untyped=[NAMESPACE]),
    )


def _workers() -> GrpcService:
    predicate = RetryPolicyRetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts", typed_config=packed(PreviousHostsPredicate())
    )
    return GrpcService(
        envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=SIDECAR, skip_envoy_headers=True),
        retry_policy=RetryPolicy(
            retry_on="connect-failure,refused-stream,reset-before-request",
            num_retries=2,
            retry_host_predicate=[predicate],
            host_selection_retry_max_attempts=3,
        ),
    )


def _verdict(value: str) -> RbacFilter:
    said = MetadataMatcher(
        filter=NAMESPACE,
        path=[MetadataMatcherPathSegment(key=DECISION)],
        value=ValueMatcher(string_match=StringMatcher(exact=value)),
    )
    principal = Principal(
        sourced_metadata=SourcedMetadata(metadata_matcher=said, metadata_source=MetadataSource.DYNAMIC)
    )
    policy = Policy(permissions=[Permission(any=True)], principals=[principal])
    return RbacFilter(rules=Rbac(action=RbacAction.ALLOW, policies={"the sidecar said yes": policy}))
