"""What journal and forwarder tell, as metrics."""

from pathlib import Path

from sidecar.settings import Settings
from sidecar.telemetry.metrics import folder
from sidecar.telemetry.metrics.sheets import opened
from sidecar.telemetry.metrics.watches import Forwarding, Journaling
from tests.telemetry.exposed import added_up


def test_the_journal_s_word_is_counted(tmp_path: Path) -> None:
    settings = Settings(runtime_dir=tmp_path)
    metrics = opened(settings, "worker-0")
    watch = Journaling(metrics, None)
    watch.committed(0.004)
    watch.committed(7.0)
    watch.stalled()
    watch.unfit(2)
    metrics.close()
    found = added_up(folder(settings))
    assert found["journal_commits_total"] == found["journal_commit_seconds_count"] == 2
    assert found["journal_commit_seconds_sum"] == 7.004
    assert found["journal_commit_seconds_bucket 0.005"] == found["journal_commit_seconds_bucket 5.0"] == 1
    assert (found["journal_stalls_total"], found["records_unfit_total"]) == (1, 2)


def test_the_forwarder_s_word_is_shown(tmp_path: Path) -> None:
    settings = Settings(runtime_dir=tmp_path)
    metrics = opened(settings, "keeper")
    gauges = Forwarding(metrics)
    gauges.backlog(interceptions=9, oldest_seconds=3.5, size=4096)
    gauges.backlog(interceptions=5, oldest_seconds=1.5, size=8192)
    gauges.forwarded(4)
    gauges.failed()
    gauges.dropped(3)
    gauges.unfit(1)
    metrics.close()
    found = added_up(folder(settings))
    assert found["unforwarded_interceptions"] == 5
    assert found["unforwarded_oldest_seconds"] == 1.5
    assert found["journal_bytes"] == 8192
    assert found["forwarded_interceptions_total"] == 4
    assert found["forward_failures_total"] == 1
    assert found["journal_dropped_interceptions_total"] == 3
    assert found["records_unfit_total"] == 1
