"""Which phases the server measures: what comes over a stream, in Envoy's own words."""

from dataclasses import replace

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest

from sidecar.telemetry.metrics import Metric
from sidecar.telemetry.metrics.counting import Counting
from sidecar.telemetry.metrics.meters import Meters
from sidecar.telemetry.metrics.operations import Operations
from tests.telemetry.counted import Listed, at_once
from tests.test_server import Clock, Context, Disk, body, headers, play, processor


async def measured(*says: ProcessingRequest) -> tuple[list[str | None], list[str]]:
    """What was answered, and the phases that were measured."""
    metrics = Listed()
    counting = Counting(metrics, Operations(metrics, {}), by_actor=False)
    serves = replace(processor(Disk()), meters=Meters(metrics, counting, Clock(), at_once))
    heard = await play(serves, Context(list(says)))
    return heard, [phase for _, _, (phase,) in metrics.of(Metric.PHASE_SECONDS)]


async def test_each_message_is_measured_under_its_kind() -> None:
    assert await measured(headers(), body()) == (["request_headers", "request_body"],) * 2


async def test_a_message_of_a_kind_that_we_do_not_know_is_measured_as_unknown() -> None:
    """As a newer proxy may send it. It is refused, for nobody can say what it would let through."""
    assert await measured(headers(), ProcessingRequest()) == (
        ["request_headers", "immediate_response"],
        ["request_headers", "unknown"],
    )
