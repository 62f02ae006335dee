"""Who may use which model: denied requests are told so, recorded, and go nowhere."""

from collections.abc import Iterator

import pytest

from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, PROMPT, whole
from tests.e2e.scripts import Script

DENIED = {"code": "403", "message": "a policy denies this model to this actor"}
POLICIES = [
    {"action": "deny", "actors": ["guest"]},
    {"action": "allow", "actors": ["intern-*"], "models": ["*-mini"]},
    {"action": "deny", "actors": ["intern-*"]},
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider) -> Iterator[Bridge]:
    with bridge(tmp_path_factory.mktemp("policies"), provider.url, policies=POLICIES) as started:
        yield started


@pytest.mark.parametrize(
    ("actor", "body"),
    [
        ("ada", ASKED),
        ("intern-1", ASKED.replace(b"aster-2", b"aster-mini")),
    ],
)
def test_what_is_allowed_passes(actor: str, body: bytes, case: str, running: Bridge, script: Script) -> None:
    script[case] = whole(case)
    assert ask(running.port, case, body, ("x-forwarded-user", actor)).status == 200
    assert running.session(case).ended == ("completed", None, 200)


@pytest.mark.parametrize(
    ("actor", "body"),
    [
        ("guest", ASKED),
        ("intern-1", ASKED),
        ("intern-1", b'{"input":"What keeps the tide?"}'),
        ("intern-1", ASKED.replace(b"}", b',"background":true}')),
    ],
)
def test_what_is_denied_is_recorded_as_rejected(
    actor: str, body: bytes, case: str, running: Bridge, provider: ThreadedProvider
) -> None:
    response = ask(running.port, case, body, ("x-forwarded-user", actor))
    assert (response.status, response.first("content-type"), response.json()) == (403, "application/json", DENIED)
    assert response.first("x-should-retry") == "false"
    assert provider.seen[case] == []
    recorded = running.session(case)
    assert recorded.ended == ("failed", "rejected", 403)
    assert (recorded.interception["initiator_id"], recorded.interception["error_message"]) == (
        actor,
        "a policy denies it",
    )
    assert PROMPT not in repr(recorded.prompts)


def test_what_names_no_model_is_decided_by_actor_and_provider(
    case: str, running: Bridge, provider: ThreadedProvider, script: Script
) -> None:
    """A list of models, say; there is no record of one."""
    script[case] = whole(case)
    asked = {"method": "GET", "path": "/openai/v1/models"}
    response = ask(running.port, case, b"", ("x-forwarded-user", "guest"), **asked)
    assert (response.status, response.json()) == (403, DENIED)
    assert running.accessed(status=403, method="GET")["actor"] == "guest"
    assert provider.seen[case] == []
    assert ask(running.port, case, b"", ("x-forwarded-user", "ada"), **asked).status == 200
