"""Envoy's own account of every request, which an auditor holds against the journal's."""

import pytest

from examples.provider import ThreadedProvider
from tests.conftest import StartBridge
from tests.e2e.bridges import Bridge
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, ASKED_STREAM, streamed, whole
from tests.e2e.scripts import Script

BACKGROUND = ASKED[:-1] + b',"background":true}'


@pytest.mark.parametrize("body", [ASKED, ASKED_STREAM, BACKGROUND])
def test_a_line_names_the_interception_and_agrees_with_it(
    shared: Bridge, script: Script, provider: ThreadedProvider, case: str, body: bytes
) -> None:
    script[case] = streamed(case) if body == ASKED_STREAM else whole(case)
    response = ask(shared.port, case, body, path="/openai/v1/responses?secret=1")
    row = shared.session(case).interception
    line = shared.accessed(interception=row["id"])
    refused = body == BACKGROUND
    assert {name: line[name] for name in ("actor", "method", "path", "route", "status", "details", "upstream")} == {
        "actor": row["initiator_id"],
        "method": "POST",
        "path": "/openai/v1/responses",
        "route": "openai",
        "status": 501 if refused else 200,
        "details": "aibridge_refused" if refused else "via_upstream",
        "upstream": None if refused else provider.url.removeprefix("http://"),
    }
    assert line["request_id"] == row["request_id"]
    assert line["bytes_in"] == len(body)
    assert line["bytes_out"] >= len(response.body)
    assert line["sidecar"]["request_body"] == "0"


def test_a_passed_request_has_a_line_with_actor_and_method_and_no_interception(
    shared: Bridge, script: Script, case: str
) -> None:
    script[case] = whole(case)
    ask(shared.port, case, b"", ("x-request-id", f"id-{case}"), method="DELETE", path="/openai/v1/responses/resp_1?k=v")
    line = shared.accessed(request_id=f"id-{case}")
    assert {name: line[name] for name in ("actor", "method", "path", "interception", "status")} == {
        "actor": "ada",
        "method": "DELETE",
        "path": "/openai/v1/responses/resp_1",
        "interception": None,
        "status": 200,
    }


@pytest.mark.parametrize(
    ("path", "status"), [("/nowhere", 404), ("/openai/v1/responses/", 404), ("/openai/v1/models", 405)]
)
def test_a_refused_request_has_a_line_too(shared: Bridge, case: str, path: str, status: int) -> None:
    ask(shared.port, case, ASKED, ("x-request-id", f"id-{case}"), path=f"{path}?canary=1")
    line = shared.accessed(request_id=f"id-{case}")
    assert (line["status"], line["path"], line["interception"], line["upstream"]) == (status, path, None, None)


def test_lines_and_interceptions_are_as_many_as_each_other(
    start_bridge: StartBridge, script: Script, case: str
) -> None:
    """After an orderly end, too: nothing is left unwritten."""
    bridge = start_bridge()
    script[case] = whole(case)
    for number in range(30):
        ask(bridge.port, case, BACKGROUND if number % 5 == 0 else ASKED)
    assert bridge.stop() == 0
    named = sorted(line["interception"] for line in bridge.access() if line["interception"])
    recorded = sorted(row["id"] for row in bridge.rows("SELECT id FROM interceptions"))
    assert (len(recorded), named) == (30, recorded)
