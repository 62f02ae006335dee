import pytest

from sidecar.telemetry.traces import NoTraces, Traces, is_unsampled

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


def test_traces_that_are_off_are_none() -> None:
    """The server never asks whether they are on."""
    traces: Traces = NoTraces()
    assert traces.begin(f"{PARENT}01", "vendor=1") is None
    traces.close(1)


@pytest.mark.parametrize("flags", ["00", "02", "fe"])
def test_who_has_decided_against_a_trace_gets_none(flags: str) -> None:
    assert is_unsampled(PARENT + flags)


@pytest.mark.parametrize("flags", ["01", "03", "ff", "0", "", "000", "00-more"])
def test_who_wants_a_trace_or_says_nothing_valid_has_not_decided_against_it(flags: str) -> None:
    assert not is_unsampled(PARENT + flags)


def test_a_trace_without_an_id_decides_nothing() -> None:
    assert not is_unsampled(f"00-{'0' * 32}-b7ad6b7169203331-00")
