"""An Envoy external processor that makes a service mesh accountable for its AI traffic."""

import sys

# structlog loads rich where it is there, for traces with the values of local variables. We log no traces, and it takes
# 5 MiB of each process. None is Python's own way to say that there is none; who prints tables loads it afterwards.
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
