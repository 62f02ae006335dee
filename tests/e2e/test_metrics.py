"""Metrics of a bridge as Prometheus finds them."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from examples.ports import number, reserved
from examples.provider import ThreadedProvider
from tests.conftest import StartBridge
from tests.e2e.bridges import CENTRAL_KEY, Bridge
from tests.e2e.connections import Connection, ask, asking, request
from tests.e2e.exchanges import ASKED, ASKED_STREAM, FIRST, PROMPT, streamed, whole
from tests.e2e.processes import listens
from tests.e2e.scripts import Script
from tests.e2e.test_journal import locked
from tests.e2e.traffic import PACE
from tests.e2e.waiting import PATIENCE, eventually
from tests.telemetry.exposed import Samples, samples

STREAMS = 8
REQUESTS = 5
Start = Callable[..., tuple[Bridge, int]]


@pytest.fixture
def start(start_bridge: StartBridge) -> Iterator[Start]:
    """Starts a bridge, and says at which port it has metrics."""
    with reserved() as held:
        metrics = number(held)

        def started(**settings: object) -> tuple[Bridge, int]:
            running = start_bridge(telemetry={"metrics": f"127.0.0.1:{metrics}"}, **settings)
            eventually(lambda: scraped(metrics), "metrics")
            return running, metrics

        yield started


@pytest.fixture
def one(start: Start) -> tuple[Bridge, int]:
    return start()


def exposed(port: int) -> str:
    """What Prometheus would read; empty when nobody answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()


def scraped(port: int) -> Samples:
    return samples(exposed(port))


def shows(port: int, **expected: float) -> None:
    """Wait until the metrics have these values."""
    eventually(lambda: expected.items() <= scraped(port).items(), f"{expected}, but {scraped(port)}")


def test_two_workers_are_added_up_and_one_that_is_killed_leaves_what_it_counted(
    start: Start, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Its gauges are true no longer, and go."""
    running, port = start(workers=2)
    eventually(lambda: running.statistic("cluster.sidecar.membership_healthy") == 2, "two workers that get requests")
    names = [f"{case}-{index}" for index in range(STREAMS)]
    with ExitStack() as stack:
        for name in names:
            script[name] = streamed(name, hold=1)
            connection = stack.enter_context(Connection(running.port))
            connection.send(request(name, ASKED_STREAM))
            connection.head()
            connection.until(FIRST)
        owners = [running.sessions(name)[0].interception["worker"] for name in names]
        assert len(set(owners)) == 2
        shows(port, open_streams=STREAMS, journal_pending_records=0)
        commits = scraped(port)["journal_commits_total"]
        assert commits >= 2
        path = sorted(running.run.glob("*.sock"))[int(owners[0].rpartition(":")[2])]
        os.kill(next(pid for pid in running.children() if listens(pid, path)), signal.SIGKILL)
        shows(port, open_streams=sum(owner != owners[0] for owner in owners))
        eventually(lambda: len(running.workers()) == 2, "its successor")
        assert scraped(port)["journal_commits_total"] >= commits
        for name in names:
            provider.release(name)
    shows(port, open_streams=0)
    assert running.stop() == 0


def test_commits_are_counted_and_timed(one: tuple[Bridge, int], script: Script, case: str) -> None:
    """A request, a response: two commits each, one after the other."""
    running, port = one
    assert scraped(port)["journal_commits_total"] == 0
    script[case] = whole(case)
    for _ in range(REQUESTS):
        assert ask(running.port, case, ASKED).status == 200
    shows(port, journal_commits_total=2 * REQUESTS, journal_commit_seconds_count=2 * REQUESTS)
    found = scraped(port)
    assert found["journal_commit_seconds_sum"] > 0
    assert found["responses_let_go_total"] == found["journal_stalls_total"] == found["records_unfit_total"] == 0


def test_a_response_let_go_before_its_records_were_safe_is_counted(
    start: Start, script: Script, provider: ThreadedProvider, case: str
) -> None:
    running, port = start(limits={"end_commit_timeout": 0.5})
    script[case] = streamed(case, hold=1)
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        with locked(running.database):
            provider.release(case)
            assert connection.rest()[1] is True
            shows(port, responses_let_go_total=1, journal_stalls_total=1)
            for name in ("journal_pending_records", "journal_pending_bytes"):
                eventually(lambda name=name: scraped(port)[name] > 0, name)
    assert running.ending(case).ended == ("completed", None, 200)
    shows(port, responses_let_go_total=1, journal_pending_records=0, journal_pending_bytes=0)


def test_a_response_cut_before_its_records_were_safe_is_counted(
    start: Start, script: Script, provider: ThreadedProvider, case: str, tmp_path: Path
) -> None:
    recorder = {"url": f"sqlite:///{tmp_path}/records.db", "on_worker_loss": "cut"}
    running, port = start(limits={"end_commit_timeout": 0.5}, recorder=recorder)
    script[case] = streamed(case, hold=1)
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        with locked(running.database):
            provider.release(case)
            assert connection.rest()[1] is False
            shows(port, responses_cut_total=1, responses_let_go_total=0)


def test_what_is_not_yet_forwarded_is_shown_with_its_age(
    start: Start, script: Script, nobody: str, tmp_path: Path, case: str
) -> None:
    """A store that is away: nothing is lost, and an operator sees it."""
    running, port = start(recorder={"url": nobody.replace("http", "grpc"), "journal": str(tmp_path / "records.db")})
    script[case] = whole(case)
    assert ask(running.port, case, ASKED).status == 200
    shows(port, unforwarded_interceptions=1, forwarded_interceptions_total=0)
    eventually(lambda: scraped(port)["forward_failures_total"] > 0, "a batch that could not be forwarded")
    eventually(lambda: scraped(port)["unforwarded_oldest_seconds"] > 1, "an age that rises")
    assert scraped(port)["journal_bytes"] > 0


def test_a_bridge_that_starts_again_counts_from_nothing(start: Start, script: Script, case: str) -> None:
    script[case] = whole(case)
    running, port = start()
    assert ask(running.port, case, ASKED).status == 200
    shows(port, journal_commits_total=2)
    assert running.stop() == 0
    assert exposed(port) == ""
    running, port = start()
    assert scraped(port)["journal_commits_total"] == 0


def test_nothing_of_what_was_said_is_to_be_seen(one: tuple[Bridge, int], script: Script, case: str) -> None:
    """The model's name is; no prompt, no session, no key, no path of ours."""
    running, port = one
    script[case] = whole(case)
    assert ask(running.port, case, ASKED).status == 200
    shows(port, journal_commits_total=2)
    text = exposed(port)
    assert not [said for said in (PROMPT, case, CENTRAL_KEY, str(running.folder)) if said in text]
    assert " actor=" not in text


def test_what_goes_through_two_workers_is_counted_by_its_labels(start: Start, script: Script, case: str) -> None:
    running, port = start(workers=2)
    eventually(lambda: running.statistic("cluster.sidecar.membership_healthy") == 2, "two workers that get requests")
    for turn in range(REQUESTS):
        name = f"{case}-{turn}"
        script[name] = streamed(name, pace=PACE)
        with asking(running.port, name, ASKED_STREAM) as connection:
            connection.head()
            assert connection.rest()[1] is True
    whole_of_it = {"provider": "openai", "model": "aster-2", "status": "completed", "route": "responses"}
    ended = whole_of_it | {"method": "POST", "client": "Codex"}
    eventually(lambda: labelled(port, "aibridge_interceptions_total", **ended) == REQUESTS, "the interceptions")
    tokens = {"provider": "openai", "model": "aster-2", "client": "Codex"}
    counted = {
        kind: labelled(port, "aibridge_tokens_total", **tokens, type=kind)
        for kind in ("input", "output", "cache_read_input_tokens", "cache_write_input_tokens", "total_tokens")
    }
    assert counted == {
        "input": 6 * REQUESTS,
        "output": 3 * REQUESTS,
        "cache_read_input_tokens": 4 * REQUESTS,
        "cache_write_input_tokens": 0,
        "total_tokens": 13 * REQUESTS,
    }
    assert labelled(port, "aibridge_prompts_total", **tokens) == REQUESTS
    assert labelled(port, "aibridge_interceptions_inflight", provider="openai", model="aster-2") == 0
    assert labelled(port, "gen_ai_client_operation_duration_seconds_count", server_address="127.0.0.1") == REQUESTS
    assert labelled(port, "gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 10 * REQUESTS  # noqa: S106 - no password
    assert labelled(port, "gen_ai_client_operation_time_to_first_chunk_seconds_count") == REQUESTS
    eventually(
        lambda: labelled(port, "gen_ai_client_operation_time_per_output_chunk_seconds_count") > 0,
        "times between chunks",
    )
    assert labelled(port, "aibridge_phase_seconds_count", phase="request_headers") == REQUESTS
    assert labelled(port, "aibridge_workers") == 2
    assert labelled(port, "aibridge_worker_starts_total") == 2


def labelled(port: int, name: str, **labels: str) -> float:
    """What is shown under this name with these labels, whatever the others are: all of it together."""
    found = (sample for family in families(exposed(port)) for sample in family.samples if sample.name == name)
    return sum(sample.value for sample in found if labels.items() <= sample.labels.items())


def test_an_address_that_is_taken_costs_the_metrics_alone(start_bridge: StartBridge, script: Script, case: str) -> None:
    script[case] = whole(case)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        running = start_bridge(telemetry={"metrics": address})
        assert ask(running.port, case, ASKED).status == 200
        eventually(lambda: '"ready"' in running.output, "the line that says so")
        (line,) = (line for line in running.output.splitlines() if "telemetry.metrics" in line)
        assert '"warning"' in line
        assert address in line
        assert running.stop() == 0


def test_metrics_that_are_off_are_nowhere(shared: Bridge) -> None:
    assert not (shared.run / "metrics").exists()


def test_who_does_not_hear_the_answer_does_not_keep_the_bridge(one: tuple[Bridge, int]) -> None:
    """`up` ends within its bound; the children are stopped in order."""
    running, port = one
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET /metrics")
        assert running.stop() == 0
    assert "Traceback" not in running.output
