"""The chart's pods, run as a kubelet would: probes, requests, the hook before the end."""

from http.client import HTTPSConnection
from pathlib import Path

import pytest

from deploy import render
from examples.provider import ThreadedProvider
from tests.deploy.certificates import issued, showing
from tests.deploy.pods import KEY, Pod
from tests.e2e import recorded
from tests.e2e.connections import RESPONSES, Connection, ask, headers, request
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE, eventually

AGENT = "spiffe://cluster.local/ns/agents/sa/agent"
ADA = b"x-forwarded-user: ada\r\n"
COUNTED = b"aibridge_interceptions_total{"
STORE = {"url": "sqlite:////var/lib/aibridge/records.db"}


def values(example: str, provider: ThreadedProvider) -> dict[str, object]:
    chosen = render.values(example)
    here = {"secret": "aibridge-provider", "baseUrl": f"{provider.url}/v1"}
    return chosen | {"provider": here, "store": STORE}


def asked(running: Pod, script: Script, case: str, by: bytes = ADA) -> recorded.Recorded:
    """One exchange's record, when it is there; `by` is what names who asks."""
    script[case] = whole(case)
    with Connection(running.port) as connection:
        connection.send(request(case, ASKED).replace(ADA, by))
        answer = connection.response()
    assert (answer.status, answer.body) == (200, whole(case).body)
    eventually(
        lambda: [one for one in recorded.sessions(running.database, case) if one.interception["ended_at"]], "an end"
    )
    (found,) = recorded.sessions(running.database, case)
    return found


def test_a_service_s_pod_serves_records_drains_and_ends(
    tmp_path: Path, script: Script, provider: ThreadedProvider, case: str
) -> None:
    with Pod(tmp_path, values("service", provider)) as running:
        found = asked(running, script, case)
        assert (found.ended, found.interception["initiator_id"]) == (("completed", None, 200), "ada")
        assert provider.seen[case][-1].all("authorization") == [f"Bearer {KEY}"]
        eventually(lambda: COUNTED in ask(running.relay, "", method="GET", path="/metrics").body, "the metrics")
        eventually(
            lambda: f'"interception":"{found.interception["id"]}"' in running.output("aibridge"), "the access log"
        )
        assert running.stop() == [0, 0, 0]
    assert KEY not in running.output("aibridge")


def test_a_sidecar_s_pod_asks_in_the_name_of_its_service_account(
    tmp_path: Path, script: Script, provider: ThreadedProvider, case: str
) -> None:
    with Pod(tmp_path, values("sidecar", provider)) as running:
        found = asked(running, script, case, by=b"")
        assert found.interception["initiator_id"] == "aibridge/agent"
        assert running.stop() == [0, 0, 0]


def test_a_pod_whose_clients_show_certificates_is_seen_to_be_ready(
    tmp_path: Path, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """By a kubelet, which has none."""
    script[case] = whole(case)
    ready = Pod(tmp_path, values("identified", provider))
    client = showing(tmp_path / "etc/tls", issued(tmp_path / "etc/tls"), AGENT)
    with ready:
        connection = HTTPSConnection("localhost", ready.port, timeout=PATIENCE, context=client)
        connection.request("POST", RESPONSES, ASKED, dict(headers(case)))
        assert connection.getresponse().status == 200
        connection.close()
        eventually(lambda: recorded.sessions(ready.database, case), "a record")
        assert recorded.sessions(ready.database, case)[0].interception["initiator_id"] == AGENT
        assert ready.stop() == [0, 0, 0]


@pytest.mark.parametrize("example", ["service", "sidecar"])
def test_a_pod_whose_secret_is_no_key_does_not_start(tmp_path: Path, provider: ThreadedProvider, example: str) -> None:
    """And says why, without showing what is there."""
    broken = Pod(tmp_path, values(example, provider))
    (tmp_path / "etc/provider/api-key").write_text("two\nlines")
    assert broken.run("aibridge").wait(PATIENCE) == 2
    assert "providers[0].api_key_file" in broken.output("aibridge")
    assert "lines" not in broken.output("aibridge")
