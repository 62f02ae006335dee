"""How long an answer to Envoy takes, by phase, and how steadily a response's chunks come. Seconds on a steady clock.

A stream may have a hundred thousand chunks, nearly all of them skimmed: these are counted in the stream's own lists and
handed over when it has gone.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from sidecar.core.records import Record
from sidecar.telemetry.metrics import Metric, Metrics
from sidecar.telemetry.metrics.counting import Counting

_CHUNK = "response_body"
_PHASES = Metric.PHASE_SECONDS.buckets
_GAPS = Metric.TIME_PER_OUTPUT_CHUNK.buckets


class Meters:
    """Where streams begin to be measured, and what they are about is heard."""

    def __init__(
        self, metrics: Metrics, counting: Counting, now: Callable[[], float], put: Callable[..., None]
    ) -> None:
        """`put`: makes the calls to the other two, as `Batch.put` does."""
        self.metrics = metrics
        self.counting = counting
        self.now = now
        self.put = put

    def hear(self, records: Sequence[Record]) -> None:
        """Have them counted: an observer (`Processor.observers`)."""
        self.put(self.counting, records)

    def begin(self) -> "Meter":
        """What measures one stream."""
        return Meter(self)


class Meter:
    """One stream's. Nothing here raises or waits."""

    __slots__ = ("_at", "_chunk_at", "_gaps", "_gone", "_now", "_shared", "_skimmed", "_took")

    def __init__(self, shared: Meters) -> None:
        self._shared = shared
        self._now = shared.now
        self._at = 0.0  # when the last message was read
        self._chunk_at = 0.0  # when the last chunk was; 0: there was none
        self._gaps = [0] * (len(_GAPS) + 1)
        self._gone = 0.0  # seconds in all between the first chunk and the last
        self._skimmed = [0] * (len(_PHASES) + 1)
        self._took = 0.0  # seconds in all for these

    def read(self) -> None:
        """A message was read."""
        self._at = self._now()

    def skimmed(self) -> None:
        """It was a chunk that tells nothing, and has its answer. Once for each chunk of a stream: keep it short."""
        at = self._at
        took = self._now() - at
        self._skimmed[bisect_left(_PHASES, took)] += 1
        self._took += took
        # The first chunk is never skimmed.
        gap = at - self._chunk_at
        self._gaps[bisect_left(_GAPS, gap)] += 1
        self._gone += gap
        self._chunk_at = at

    def answered(self, phase: str) -> None:
        """It was a message of this phase, and has all its answers."""
        shared = self._shared
        shared.put(shared.metrics.observe, Metric.PHASE_SECONDS, self._now() - self._at, (phase,))
        if phase != _CHUNK:
            return
        if self._chunk_at:
            gap = self._at - self._chunk_at
            self._gaps[bisect_left(_GAPS, gap)] += 1
            self._gone += gap
        self._chunk_at = self._at

    def close(self, interception: str | None) -> None:
        """The stream has gone, and all that is to be told of its interception was."""
        shared = self._shared
        if any(self._skimmed):
            shared.put(shared.metrics.pour, Metric.PHASE_SECONDS, self._skimmed, self._took, (_CHUNK,))
        if interception is not None:
            shared.put(shared.counting.pace, interception, self._gaps, self._gone)
