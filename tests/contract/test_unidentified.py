"""Requests that nobody is believed to have made are counted, and no others that are refused."""

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from sidecar.core.policy import Policy
from sidecar.telemetry.metrics import Metric
from tests.contract import peer
from tests.contract.worker import POLICY, serving
from tests.telemetry.counted import Listed

TRUSTING = replace(POLICY, trusted=(ip_network("10.4.7.0/24"),))
NAMELESS = tuple(pair for pair in peer.POST if pair[0] != "x-forwarded-user")
PATHLESS = tuple((name, "/openai/v1/nothing" if name == ":path" else value) for name, value in peer.POST)


@pytest.mark.parametrize(
    ("policy", "headers", "body", "counted"),
    [
        pytest.param(POLICY, NAMELESS, b"", 1, id="nobody"),
        pytest.param(POLICY, (*peer.POST, ("x-forwarded-user", "bob")), b"", 1, id="two"),
        pytest.param(TRUSTING, peer.POST, b"", 1, id="from elsewhere"),
        pytest.param(POLICY, PATHLESS, b"", 0, id="no route"),
        pytest.param(POLICY, peer.POST, b"not JSON", 0, id="no JSON"),
        pytest.param(POLICY, peer.POST, b'{"model":"m","input":"hi"}', 0, id="not refused"),
    ],
)
async def test_a_request_without_an_actor_who_is_believed_is_counted(
    folder: Path, policy: Policy, headers: peer.Pairs, body: bytes, counted: int
) -> None:
    metrics = Listed()
    async with serving(folder, policy=policy) as worker:
        worker.processor.metrics = metrics
        stream = worker.stream()
        await stream.ask(peer.request_headers(headers), *([peer.request_body(body)] if body else []))
        await stream.end()
        await worker.settled()
    assert metrics.of(Metric.UNIDENTIFIED_TOTAL) == [(Metric.UNIDENTIFIED_TOTAL, 1.0, ())] * counted
