"""Records as log lines (`telemetry.log_records`) where a worker did not live to say them all."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.provider import ThreadedProvider
from tests.conftest import StartBridge
from tests.e2e.bridges import Bridge, bridge
from tests.e2e.connections import asking
from tests.e2e.exchanges import ASKED_STREAM, FIRST, PROMPT, streamed
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

LINES = {"log_records": True}


def lines(running: Bridge, interception: str) -> list[dict[str, Any]]:
    """What is said of it, without when and by whom."""
    return [
        {name: value for name, value in line.items() if name not in {"event", "level", "timestamp", "worker"}}
        for line in _told(running)
        if line.get("interception_id") == interception
    ]


def _told(running: Bridge) -> Iterator[dict[str, Any]]:
    for text in running.output.splitlines():
        if text.startswith("{") and (line := json.loads(text))["event"] == "interception log":
            yield line


def lost(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines that end an interception as lost, which has this row."""
    return [
        {
            "record_type": "prompt_usage",
            "interception_id": row["id"],
            "msg_id": "",
            "prompt": PROMPT,
            "created_at": row["ended_at"],
            "metadata": {},
        },
        {
            "record_type": "interception_end",
            "interception_id": row["id"],
            "ended_at": row["ended_at"],
            "status": "failed",
            "error_type": "lost",
        },
    ]


def test_an_interception_whose_worker_was_killed_has_the_line_of_its_end(
    start_bridge: StartBridge, script: Script, provider: ThreadedProvider, case: str
) -> None:
    """Once, though the stop looks for what is open again; its prompt's, too, for the record is there."""
    running = start_bridge(telemetry=LINES)
    script[case] = streamed(case, hold=1)
    with asking(running.port, case, ASKED_STREAM) as connection:
        connection.head()
        connection.until(FIRST)
        (worker,) = running.workers()
        os.kill(worker, signal.SIGKILL)
        row = running.ending(case).interception
        provider.release(case)
    eventually(lambda: len(lines(running, row["id"])) == 3, "its lines")
    assert running.stop() == 0
    assert lines(running, row["id"])[1:] == lost(row)


def test_what_nobody_lived_to_say_the_next_start_says(
    script: Script, provider: ThreadedProvider, case: str, tmp_path: Path
) -> None:
    """As after a power cut."""
    script[case] = streamed(case, hold=1)
    with (
        bridge(tmp_path, provider.url, telemetry=LINES) as running,
        asking(running.port, case, ASKED_STREAM) as connection,
    ):
        connection.head()
        connection.until(FIRST)
        everybody = (running.process.pid, *running.children())
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)  # else they hear of each other's end
        for pid in everybody:
            os.kill(pid, signal.SIGKILL)
        running.process.wait()
    provider.release(case)
    with bridge(tmp_path, provider.url, telemetry=LINES) as successor:
        row = successor.ending(case).interception
        eventually(lambda: lines(successor, row["id"]), "its lines")
        assert lines(successor, row["id"]) == lost(row)
