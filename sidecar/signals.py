"""The signals that tell a command to end."""

import signal


def endings() -> tuple[signal.Signals, ...]:
    """SIGTERM, ctrl-C, and SIGHUP for a terminal that is gone, unless whoever started us ignores that (nohup)."""
    hung_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hung_up)
