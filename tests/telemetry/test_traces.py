from sidecar.telemetry.traces import NoTraces, Traces
from tests.telemetry.interceptions import ENDED, STARTED, T


def test_traces_that_are_off_take_everything_and_do_nothing() -> None:
    """The server never asks whether they are on."""
    traces: Traces = NoTraces()
    trace = traces.begin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1")
    trace.observe([STARTED, ENDED], T)
    traces.close(1)
    assert traces.begin(None) is trace  # no object per request
