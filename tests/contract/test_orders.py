"""Every message in every phase: what cannot be is refused while nothing was decided, and acknowledged afterwards."""

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest, ProcessingResponse

from tests.contract import peer
from tests.contract.worker import Worker

BODY = b'{"model":"gpt-5","input":"hi"}'
ANSWER = b'{"id":"resp_1","status":"completed"}'
COMPLETED, CUT = ("completed", None, 200), ("failed", "disconnected", None)

MESSAGES = {
    "request headers": peer.request_headers(),
    "request body": peer.request_body(BODY),
    "request trailers": peer.request_trailers(),
    "response headers": peer.response_headers(),
    "response body": peer.response_body(ANSWER, end=True),
    "response trailers": peer.response_trailers(),
    "unknown": ProcessingRequest(),
}
BEFORE = {
    "nothing": (),
    "headers": ("request headers",),
    "verdict": ("request headers", "request body"),
    "answer begun": ("request headers", "request body", "response headers"),
    "answer ended": ("request headers", "request body", "response headers", "response body"),
    "refusal": ("request headers", "request headers"),
    "answer alone": ("response headers",),
}
SEEN = {
    "request headers": peer.HEADERS_SEEN,
    "request body": peer.BODY_SEEN,
    "request trailers": peer.TRAILERS_SEEN,
    "response headers": peer.ANSWER_HEADERS_SEEN,
    "response body": peer.ANSWER_BODY_SEEN,
    "response trailers": peer.ANSWER_TRAILERS_SEEN,
    "unknown": ProcessingResponse(),
}
REFUSED = peer.refused(
    500, b'{"code":"500","message":"the request could not be processed"}', (("content-type", "application/json"),)
)
EMPTY = peer.refused(
    400,
    b'{"code":"400","message":"the body is not a JSON object"}',
    (("content-type", "application/json"), ("x-should-retry", "false")),
)
PASSED = peer.passed_at_body(
    (
        ("x-envoy-upstream-rq-timeout-ms", "600000"),
        ("accept-encoding", "identity"),
        ("authorization", "Bearer sk-central-0123456789abcdef"),
    ),
    ("x-forwarded-user",),
    actor="alice",
    interception="01a0c450-6c00-7000-8000-000000000000",
)
# What is not acknowledged.
OTHERWISE = {
    ("nothing", "request body"): REFUSED,
    ("nothing", "request trailers"): REFUSED,
    ("nothing", "unknown"): REFUSED,
    ("headers", "request headers"): REFUSED,
    ("headers", "request body"): PASSED,
    ("headers", "request trailers"): EMPTY,
    ("headers", "unknown"): REFUSED,
}
# How the interception ends when the peer then hangs up; nothing is recorded of what was not decided.
ENDS = {
    "verdict": CUT,
    "answer begun": ("failed", "disconnected", 200),
    "answer ended": COMPLETED,
}
ENDS_OTHERWISE = {
    ("headers", "request body"): CUT,
    ("verdict", "response headers"): ("failed", "disconnected", 200),
    ("answer begun", "response body"): COMPLETED,
    ("answer begun", "response trailers"): ("failed", "unread", 200),
}


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("before", BEFORE)
async def test_every_message_is_answered_in_every_phase(worker: Worker, before: str, message: str) -> None:
    stream = worker.stream()
    await stream.ask(*(MESSAGES[name] for name in BEFORE[before]))
    assert await stream.ask(MESSAGES[message]) == [OTHERWISE.get((before, message), SEEN[message])]
    assert await stream.end() == []
    await worker.settled()
    end = ENDS_OTHERWISE.get((before, message), ENDS.get(before))
    assert worker.ends() == ([end] if end else [])


async def test_what_cannot_be_does_not_cost_a_response_its_records(worker: Worker) -> None:
    """A message that a later Envoy may know: what comes before and after it is the provider's all the same."""
    stream = worker.stream()
    usage = b'{"id":"resp_1","status":"completed","usage":{"input_tokens":3,"output_tokens":2}}'
    asked = ("request headers", "request body", "response headers", "unknown", "request headers")
    await stream.ask(*(MESSAGES[name] for name in asked), peer.response_body(usage[:20]))
    await stream.ask(MESSAGES["unknown"], peer.response_body(usage[20:], end=True))
    await stream.end()
    await worker.settled()
    assert worker.ends() == [COMPLETED]
    assert worker.rows("SELECT msg_id, input_tokens, output_tokens FROM token_usages") == [
        {"msg_id": "resp_1", "input_tokens": 3, "output_tokens": 2}
    ]


async def test_a_stream_that_begins_with_the_response_leaves_no_record(worker: Worker) -> None:
    """Envoy's own answer to a request that never reached us: an upgrade, say."""
    stream = worker.stream()
    refused = peer.response_headers(((":status", "403"),), details="upgrade_failed")
    assert await stream.ask(refused, peer.response_body(b"no", end=True), peer.response_trailers()) == [
        peer.ANSWER_HEADERS_SEEN,
        peer.ANSWER_BODY_SEEN,
        peer.ANSWER_TRAILERS_SEEN,
    ]
    assert await stream.end() == []
    await worker.settled()
    assert worker.ends() == []


async def test_envoy_giving_up_on_an_upload_leaves_no_record(worker: Worker) -> None:
    """The body was larger than its buffer, or too slow: we see the headers and then Envoy's own 413."""
    stream = worker.stream()
    too_large = peer.response_headers(((":status", "413"),), details="request_payload_too_large")
    assert await stream.ask(peer.request_headers(), too_large, peer.response_body(b"", end=True)) == [
        peer.HEADERS_SEEN,
        peer.ANSWER_HEADERS_SEEN,
        peer.ANSWER_BODY_SEEN,
    ]
    await stream.end()
    await worker.settled()
    assert worker.ends() == []


async def test_what_follows_the_end_is_acknowledged_and_forgotten(worker: Worker) -> None:
    """Codex hangs up after the terminal event, but Envoy may have more to show: nothing of it is recorded."""
    stream = worker.stream()
    event = b'data: {"type":"response.completed","response":{"id":"%s","usage":{"input_tokens":1}}}\n\n'
    await stream.ask(peer.request_headers(), peer.request_body(BODY), peer.response_headers(peer.EVENTS))
    more = (peer.response_body(event % b"resp_2"), peer.response_body(b"", end=True), peer.response_body(b"late"))
    assert await stream.ask(peer.response_body(event % b"resp_1"), *more) == [peer.ANSWER_BODY_SEEN] * 4
    await stream.end()
    await worker.settled()
    assert worker.ends() == [COMPLETED]
    assert worker.rows("SELECT msg_id FROM token_usages") == [{"msg_id": "resp_1"}]


async def test_trailers_end_a_response(worker: Worker) -> None:
    """The body's last chunk does not say that it is the last when trailers follow."""
    stream = worker.stream()
    await stream.ask(
        peer.request_headers(), peer.request_body(BODY), peer.response_headers(), peer.response_body(ANSWER)
    )
    assert await stream.ask(peer.response_trailers()) == [peer.ANSWER_TRAILERS_SEEN]
    assert worker.ends() == [COMPLETED]
    await stream.end()


async def test_a_content_length_reached_ends_a_response(worker: Worker) -> None:
    """Envoy often brings the last bytes without saying so, and the end in an empty message of its own."""
    stream = worker.stream()
    await stream.ask(peer.request_headers(), peer.request_body(BODY))
    await stream.ask(peer.response_headers(peer.OK, ("content-length", str(len(ANSWER)))))
    await stream.ask(peer.response_body(ANSWER[:7]))
    assert worker.ends() == [(None, None, None)]
    await stream.ask(peer.response_body(ANSWER[7:]))
    assert worker.ends() == [COMPLETED]
    await stream.end()


async def test_a_response_of_headers_alone_ends_with_them(worker: Worker) -> None:
    stream = worker.stream()
    await stream.ask(peer.request_headers(), peer.request_body(BODY))
    empty = peer.response_headers(((":status", "500"), ("x-request-id", "req_7")), end=True)
    assert await stream.ask(empty) == [peer.ANSWER_HEADERS_SEEN]
    assert worker.ends() == [("failed", "server_error", 500)]
    assert worker.rows("SELECT provider_request_id FROM interceptions") == [{"provider_request_id": "req_7"}]
    await stream.end()


@pytest.mark.parametrize(
    ("status", "details", "error_type", "message"),
    [
        ("503", "upstream_reset_before_response_started{connection_refused}", "disconnected",
         "Envoy answered 503: upstream_reset_before_response_started"),
        ("504", "response_timeout", "timeout", "Envoy answered 504: response_timeout"),
        ("403", "rbac_access_denied_matched_policy[none]", "disconnected",
         "Envoy answered 403: rbac_access_denied_matched_policy"),
    ],
)  # fmt: skip
async def test_envoys_own_answer_is_known_from_the_providers(
    worker: Worker, status: str, details: str, error_type: str, message: str
) -> None:
    """No response of a provider's came, so the prompt is kept without an id: somebody may have got it."""
    stream = worker.stream()
    await stream.ask(peer.request_headers(), peer.request_body(BODY))
    await stream.ask(peer.response_headers(((":status", status),), details=details))
    assert worker.rows("SELECT error_type, error_message, http_status FROM interceptions") == [
        {"error_type": error_type, "error_message": message, "http_status": int(status)}
    ]
    assert worker.rows("SELECT msg_id, prompt FROM user_prompts") == [{"msg_id": "", "prompt": "hi"}]
    assert await stream.ask(peer.response_body(b'{"code":"503"}', end=True)) == [peer.ANSWER_BODY_SEEN]
    await stream.end()
