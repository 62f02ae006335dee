"""Bridges whose collector is well, says nothing ever, or is not there: requests take the same time through each."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from itertools import chain, permutations
from time import perf_counter

import pytest

from examples.otlp_receiver import Receiver
from examples.ports import number, reserved
from examples.provider import ThreadedProvider
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE, eventually, undisturbed
from tests.telemetry.collectors import hanging
from tests.telemetry.exposed import Samples, samples

ROUNDS = 25  # of each order that three bridges can be asked in
WARMING = 10
HARMLESS = 1.5
FAILED = "spans_dropped_total export_failed"
# So that what hangs is given up, again and again, while the test asks.
VARIABLES = {"OTEL_EXPORTER_OTLP_TIMEOUT": "300"}
WELL, HANGING, ABSENT = "well", "hanging", "absent"
Bridges = dict[str, tuple[Bridge, int]]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def bridges(
    tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider, receiver: Receiver, nobody: str
) -> Iterator[Bridges]:
    """One for each collector, and the port that Prometheus asks it at. All spans go to it, Envoy's own as well."""
    with ExitStack() as stack:
        endpoints = {WELL: receiver.endpoint, HANGING: stack.enter_context(hanging()), ABSENT: nobody}

        def started(kind: str) -> tuple[Bridge, int]:
            port = number(stack.enter_context(reserved()))
            telemetry = {"otlp_endpoint": endpoints[kind], "otlp_protocol": "grpc", "metrics": f"127.0.0.1:{port}"}
            folder = tmp_path_factory.mktemp(kind)
            return stack.enter_context(bridge(folder, provider.url, variables=VARIABLES, telemetry=telemetry)), port

        yield {kind: started(kind) for kind in endpoints}


def scraped(port: int) -> Samples:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/metrics")
    found = samples(connection.getresponse().read().decode())
    connection.close()
    return found


def seconds(running: Bridge, case: str) -> float:
    before = perf_counter()
    assert ask(running.port, case, ASKED).status == 200
    return perf_counter() - before


def test_no_collector_slows_a_request(bridges: Bridges, script: Script, case: str) -> None:
    """By turns, so that whatever else the machine does slows them all."""
    script[case] = whole(case)
    taken = {kind: list[float]() for kind in bridges}
    for turn in chain.from_iterable([*permutations(bridges)] * ROUNDS):
        taken[turn].append(seconds(bridges[turn][0], case))
    typical = {kind: undisturbed(each[WARMING:]) for kind, each in taken.items()}
    assert typical[HANGING] < HARMLESS * typical[WELL], typical
    assert typical[ABSENT] < HARMLESS * typical[WELL], typical


@pytest.mark.parametrize("kind", [HANGING, ABSENT])
def test_spans_that_reach_nobody_are_counted_and_told_once(
    bridges: Bridges, script: Script, case: str, kind: str
) -> None:
    script[case] = whole(case)
    running, port = bridges[kind]
    seconds(running, case)
    first = eventually(lambda: scraped(port).get(FAILED), "spans that are counted as lost")
    seconds(running, case)
    eventually(lambda: scraped(port)[FAILED] > first, "more of them")
    (told,) = (line for line in running.output.splitlines() if "takes no spans" in line)
    assert json.loads(told)["level"] == "warning"
    assert len(running.sessions(case)) == 2


def test_of_what_arrives_nothing_is_counted_as_lost(
    bridges: Bridges, script: Script, case: str, receiver: Receiver
) -> None:
    script[case] = whole(case)
    running, port = bridges[WELL]
    seconds(running, case)
    interception = running.ending(case).interception["id"]
    assert receiver.wait(
        lambda spans: any(span.attributes.get("interception_id") == interception for span in spans), PATIENCE
    )
    assert FAILED not in scraped(port)
