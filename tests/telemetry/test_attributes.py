import pytest
from msgspec.structs import replace

from sidecar.telemetry.traces import attributes
from sidecar.telemetry.traces.attributes import Server
from tests.telemetry.interceptions import COMMON, LIMITED, PASSED, STARTED

PASSTHROUGH = {
    "passthrough_url": "/openai-eu/v1/models",
    "passthrough_method": "GET",
    "passthrough_upstream_url": "https://api.openai.com/v1/models",
    "user_id": "alice",
    "provider": "openai-eu",
}


def test_every_span_says_who_asked_whom_for_which_model() -> None:
    assert attributes.common(STARTED) == COMMON


def test_a_client_without_a_session_has_none() -> None:
    assert attributes.client(STARTED) == {"client": "Codex", "session.id": "session-1"}
    assert attributes.client(replace(STARTED, client_session=None)) == {"client": "Codex"}


def test_a_provider_is_told_by_its_host_and_port_where_these_are_known() -> None:
    assert attributes.server(Server("api.openai.com", 443)) == {
        "server.address": "api.openai.com",
        "server.port": 443,
    }
    assert attributes.server(None) == {}


def test_a_failure_gives_its_type() -> None:
    assert attributes.error(LIMITED.failure) == {"error.type": "rate_limited"}
    assert attributes.error(None) == {}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, {"http.response.status_code": 200}),
        (404, {"http.response.status_code": 404}),
        (500, {"http.response.status_code": 500, "error.type": "500"}),
        (None, {"error.type": "disconnected"}),
    ],
)
def test_a_passthrough_tells_both_urls_without_their_queries(status: int | None, expected: dict[str, object]) -> None:
    assert attributes.passthrough(replace(PASSED, http_status=status)) == {**PASSTHROUGH, **expected}
