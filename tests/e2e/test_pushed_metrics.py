"""Metrics of a bridge as a collector gets them, next to Prometheus."""

import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from examples.otlp_receiver import Receiver
from examples.ports import number, reserved
from examples.provider import ThreadedProvider
from sidecar.telemetry.metrics import Metric
from tests.e2e.bridges import CENTRAL_KEY, Bridge, bridge
from tests.e2e.connections import ask, asking
from tests.e2e.exchanges import ASKED, ASKED_STREAM, PROMPT, streamed, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE, eventually
from tests.telemetry.collectors import hanging
from tests.telemetry.pushed import Pushed, Samples, as_prometheus, decode

OFTEN = {"OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "x-tenant=aster"}
SELDOM = {"OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
ENDED = Metric.INTERCEPTIONS_TOTAL.otlp_name
# What one push after the other changes even where nothing happens.
OF_THE_CLOCK = {Metric.JOURNAL_BYTES.full_name, Metric.UNFORWARDED_OLDEST_SECONDS.full_name}


@pytest.fixture(params=["grpc", "http"])
def pushing(
    request: pytest.FixtureRequest, tmp_path: Path, provider: ThreadedProvider
) -> Iterator[tuple[Bridge, Receiver, int, int]]:
    """A bridge of two workers that pushes often, who gets it, and the port that Prometheus asks at.

    In the end a time before it began, in nanoseconds since the epoch.
    """
    before = time.time_ns()
    with Receiver() as receiver, reserved() as held:
        endpoint = receiver.endpoint if request.param == "grpc" else receiver.http_endpoint
        telemetry = {
            "otlp_endpoint": endpoint,
            "otlp_protocol": request.param,
            "metrics": f"127.0.0.1:{number(held)}",
        }
        with bridge(tmp_path, provider.url, variables=OFTEN, telemetry=telemetry, workers=2) as running:
            yield running, receiver, number(held), before


def last(receiver: Receiver) -> list[Pushed]:
    """The points of the newest push; empty where there was none."""
    return list(decode(receiver.metrics[-1])) if receiver.metrics else []


def ended(receiver: Receiver) -> float:
    """How many interceptions had ended, by the newest push."""
    return sum(point.values[0] for point in last(receiver) if point.name == ENDED)


def shown(port: int) -> Samples:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/metrics")
    found = [one for family in families(connection.getresponse().read().decode()) for one in family.samples]
    connection.close()
    return steady({(one.name, frozenset(pair for pair in one.labels.items() if pair[1])): one.value for one in found})


def steady(samples: Samples) -> Samples:
    return {key: value for key, value in samples.items() if key[0] not in OF_THE_CLOCK}


def test_a_collector_gets_what_prometheus_reads_and_the_last_of_it_at_the_end(
    pushing: tuple[Bridge, Receiver, int, int], script: Script, case: str
) -> None:
    running, receiver, port, before = pushing
    script[case] = whole(case)
    for _ in range(3):
        assert ask(running.port, case, ASKED).status == 200
    eventually(lambda: ended(receiver) == 3, "three interceptions in a push")
    eventually(lambda: steady(as_prometheus(last(receiver))) == shown(port), "the same by both ways")
    script[f"{case}-last"] = streamed(case)
    with asking(running.port, f"{case}-last", ASKED_STREAM) as connection:
        connection.head()
        assert connection.rest()[1] is True
    assert running.stop() == 0
    assert ended(receiver) == 4
    assert {headers["x-tenant"] for headers in receiver.headers} == {"aster"}
    (began,) = {point.since for payload in receiver.metrics for point in decode(payload) if point.kind != "gauge"}
    assert before < began < min(point.at for point in decode(receiver.metrics[0]))
    assert not [point for point in last(receiver) if point.name == Metric.WORKERS.otlp_name]  # none is left
    everything = b"".join(receiver.metrics)
    assert not [said for said in (PROMPT, case, CENTRAL_KEY, str(running.folder)) if said.encode() in everything]
    assert not [line for line in running.output.splitlines() if '"warning"' in line and '"envoy.main"' not in line]


def test_with_an_endpoint_alone_the_only_push_may_be_the_last(
    tmp_path: Path, provider: ThreadedProvider, script: Script, case: str
) -> None:
    script[case] = whole(case)
    with Receiver() as receiver:
        telemetry = {"otlp_endpoint": receiver.endpoint, "metrics": ""}
        with bridge(tmp_path, provider.url, variables=SELDOM, telemetry=telemetry) as running:
            assert ask(running.port, case, ASKED).status == 200
            assert receiver.metrics == ()
            assert running.stop() == 0
        assert len(receiver.metrics) == 1
        assert ended(receiver) == 1


def test_a_collector_that_hangs_harms_neither_requests_nor_the_end(
    tmp_path: Path, provider: ThreadedProvider, script: Script, case: str
) -> None:
    """It is told of once, and `up` ends within its bound."""
    script[case] = whole(case)
    variables = OFTEN | {"OTEL_EXPORTER_OTLP_TIMEOUT": "300"}
    with hanging() as nowhere:
        telemetry = {"otlp_endpoint": nowhere, "otlp_protocol": "http", "metrics": ""}
        with bridge(tmp_path, provider.url, variables=variables, telemetry=telemetry) as running:
            eventually(lambda: "no metrics reach" in running.output, "the line that says so")
            for _ in range(3):
                assert ask(running.port, case, ASKED).status == 200
            assert running.stop() == 0
            assert running.output.count("no metrics reach") == 1
            assert "had to be killed" not in running.output
