import signal

import pytest

from sidecar.signals import endings


@pytest.mark.parametrize("heard", [True, False])
def test_a_terminal_that_is_gone_is_heard_of_unless_somebody_said_not_to(*, heard: bool) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL if heard else signal.SIG_IGN)
    try:
        assert (signal.SIGHUP in endings()) is heard
        assert {signal.SIGTERM, signal.SIGINT} <= set(endings())
    finally:
        signal.signal(signal.SIGHUP, before)
