"""Values in memory, files that prometheus_client reads as its own."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar.settings import Settings
from sidecar.telemetry.metrics import Metric, Metrics, NoMetrics, folder, sheets
from tests.e2e.waiting import eventually
from tests.telemetry.exposed import added_up, stored

SECONDS = (0.0001, 0.0005, 0.03, 0.03, 5.0, 60.0)
THEIRS = """
import sys
from prometheus_client import Counter, Gauge, Histogram
from sidecar.telemetry.metrics import Metric
let_go, streams, commits = Metric.RESPONSES_LET_GO_TOTAL, Metric.OPEN_STREAMS, Metric.JOURNAL_COMMIT_SECONDS
Counter(let_go.full_name, let_go.text).inc(3)
Gauge(streams.full_name, streams.text, multiprocess_mode="livesum").set(2)
histogram = Histogram(commits.full_name, commits.text, buckets=commits.buckets)
for seconds in eval(sys.argv[1]):
    histogram.observe(seconds)
"""
FULL = """
import resource, signal, sys
from pathlib import Path
from sidecar.settings import Settings
from sidecar.telemetry.metrics import Metric
from sidecar.telemetry.metrics.sheets import opened
limit = lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
if sys.argv[2] == "start":
    limit(0)
metrics = opened(Settings(runtime_dir=Path(sys.argv[1])), "worker-0")
limit(0)
metrics.add(Metric.RESPONSES_LET_GO_TOTAL, 5)
metrics.close()
print("lives", type(metrics).__name__)
"""

Open = Callable[..., Metrics]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(runtime_dir=tmp_path)


@pytest.fixture
def start(settings: Settings) -> Iterator[Open]:
    """Opens the metrics of a process; whatever is left of it in the end is closed."""
    with ExitStack() as stack:

        def started(process: str = "worker-0") -> Metrics:
            metrics = sheets.opened(settings, process)
            stack.callback(metrics.close)
            return metrics

        yield started


def found(settings: Settings, name: str) -> float | None:
    return added_up(folder(settings)).get(name)


def test_the_files_are_those_that_prometheus_client_would_make(start: Open, settings: Settings, tmp_path: Path) -> None:
    """Its multiprocess mode is the oracle: the same keys and the same values for the same calls."""
    metrics = start()
    metrics.add(Metric.RESPONSES_LET_GO_TOTAL, 3)
    metrics.set(Metric.OPEN_STREAMS, 2)
    for seconds in SECONDS:
        metrics.observe(Metric.JOURNAL_COMMIT_SECONDS, seconds)
    metrics.close()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(theirs)}
    subprocess.run([sys.executable, "-c", THEIRS, repr(SECONDS)], env=environment, check=True)
    for kind in ("counter", "gauge_livesum", "histogram"):
        (file,) = theirs.glob(f"{kind}_*.db")
        assert stored(file).items() <= stored(folder(settings) / f"{kind}_worker-0.db").items()
    assert added_up(theirs).items() <= added_up(folder(settings)).items()


def test_counters_are_there_from_the_start_and_gauges_once_they_are_set(start: Open, settings: Settings) -> None:
    """A rise from nothing is not seen as a rise; a gauge that nobody sets would be a lie."""
    metrics = start()
    assert found(settings, "responses_let_go_total") == 0
    assert found(settings, "journal_commit_seconds_count") == 0
    assert found(settings, "open_streams") is None
    metrics.set(Metric.OPEN_STREAMS, 0)
    metrics.close()
    assert found(settings, "open_streams") == 0


def test_values_reach_the_files_while_the_process_lives(start: Open, settings: Settings) -> None:
    metrics = start()
    for number in range(1, 3):
        metrics.add(Metric.JOURNAL_COMMITS_TOTAL)
        eventually(lambda number=number: found(settings, "journal_commits_total") == number, "the count")


def test_processes_are_added_up(start: Open, settings: Settings) -> None:
    for number in range(3):
        metrics = start(f"worker-{number}")
        metrics.add(Metric.JOURNAL_COMMITS_TOTAL, 2)
        metrics.set(Metric.OPEN_STREAMS, 5)
        metrics.observe(Metric.JOURNAL_COMMIT_SECONDS, 0.002)
        metrics.close()
    assert found(settings, "journal_commits_total") == 6
    assert found(settings, "open_streams") == 15
    assert found(settings, "journal_commit_seconds_bucket 0.0025") == 3
    assert found(settings, "journal_commit_seconds_bucket 0.001") == 0


def test_what_a_dead_process_counted_stays_and_its_gauges_go(start: Open, settings: Settings) -> None:
    for number in range(2):
        metrics = start(f"worker-{number}")
        metrics.add(Metric.JOURNAL_COMMITS_TOTAL, 2)
        metrics.set(Metric.OPEN_STREAMS, 5)
        metrics.close()
    sheets.forget(settings, "worker-0")
    sheets.forget(settings, "worker-0")
    assert found(settings, "journal_commits_total") == 4
    assert found(settings, "open_streams") == 5


def test_a_successor_counts_on_and_leaves_no_more_files(start: Open, settings: Settings) -> None:
    """However often a worker is replaced, there is no more to read."""
    for number in range(3):
        metrics = start()
        metrics.add(Metric.JOURNAL_COMMITS_TOTAL, 2)
        metrics.observe(Metric.JOURNAL_COMMIT_SECONDS, 0.002)
        if not number:
            metrics.set(Metric.OPEN_STREAMS, 5)
        metrics.close()
    assert found(settings, "journal_commits_total") == 6
    assert found(settings, "journal_commit_seconds_count") == 3
    assert found(settings, "open_streams") is None
    assert len(list(folder(settings).iterdir())) == 3


def test_threads_lose_no_count(start: Open, settings: Settings) -> None:
    metrics = start()

    def count() -> None:
        for _ in range(2000):
            metrics.add(Metric.JOURNAL_COMMITS_TOTAL)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    metrics.close()
    assert found(settings, "journal_commits_total") == 8000


@pytest.mark.parametrize("when", ["start", "later"])
def test_a_disk_that_takes_no_more_harms_nobody(settings: Settings, when: str) -> None:
    """No SIGBUS, no exception: here no file may grow, and Python ignores SIGXFSZ."""
    command = [sys.executable, "-c", FULL, str(settings.runtime_dir), when]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (*warnings, last) = done.stdout.splitlines()
    assert done.stderr == ""
    assert last == f"lives {'NoMetrics' if when == 'start' else 'Sheets'}"
    assert len(warnings) == (when == "start")


def test_files_that_cannot_be_made_are_a_warning(settings: Settings) -> None:
    folder(settings).write_text("in the way")
    with capture_logs() as logged:
        metrics = sheets.opened(settings, "worker-0")
    assert isinstance(metrics, NoMetrics)
    [entry] = logged
    assert (entry["log_level"], entry["setting"]) == ("warning", "telemetry.metrics")


def test_all_of_it_is_the_owner_s_alone(start: Open, settings: Settings) -> None:
    start()
    assert stat.S_IMODE(folder(settings).stat().st_mode) == 0o700


def test_a_bridge_that_starts_forgets_the_last_one(start: Open, settings: Settings) -> None:
    sheets.empty(settings)
    start().add(Metric.JOURNAL_COMMITS_TOTAL)
    sheets.empty(settings)
    assert list(folder(settings).iterdir()) == []
