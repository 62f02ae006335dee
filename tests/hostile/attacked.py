"""A bridge for those who mean harm, and what must hold of it whatever they did."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from examples.provider import ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, Bridge, bridge
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually

MIB = 1 << 20
REQUEST_BYTES, RESPONSE_BYTES = 8 * MIB, 16 * MIB  # what is read of a body
OTHER_KEY = "sk-other-canary-7161514131211101"
OWN_KEY = "sk-client-canary-0123456789abcdef"  # a client's, in whatever it says
CONTENT = "canary-content"  # in prompts, tool inputs and thoughts: the records' lines may have it, no other
SECRETS = (CENTRAL_KEY, OTHER_KEY, OWN_KEY)
RECORDS = "interception log"


@contextmanager
def attacked(folder: Path, provider: ThreadedProvider) -> Iterator[Bridge]:
    """One that dumps and logs all it records, with two providers that are told apart by their paths."""
    sending = {"send_actor_headers": True}
    providers = [
        {"name": "openai", "base_url": f"{provider.url}/v1", "api_key": CENTRAL_KEY, **sending},
        {"name": "other", "base_url": f"{provider.url}/a/b", "api_key": OTHER_KEY, **sending},
    ]
    with bridge(
        folder,
        provider.url,
        providers=providers,
        telemetry={"metrics": "", "log_records": True},
        limits={"max_request_bytes": REQUEST_BYTES, "max_response_bytes": RESPONSE_BYTES},
        dump={"dir": str(folder / "dumps")},
    ) as running:
        yield running
        assert running.stop() == 0
        assert unended(running) == []
        keeps_its_secrets(running)
        assert [line for line in lines(running.log) if line.get("logger") == "envoy.main"]  # it says that it stops


def is_well(running: Bridge, provider: ThreadedProvider, script: Script, case: str) -> None:
    """An ordinary request is served and recorded, nothing is left open, and nobody was surprised."""
    script[case] = whole(case)
    response = ask(running.port, case, ASKED)
    assert (response.status, response.body) == (200, whole(case).body)
    assert len(provider.seen[case]) == 1
    assert running.session(case).ended == ("completed", None, 200)
    eventually(lambda: not unended(running), "all have ended")
    assert [line for line in lines(running.log) if line.get("level") == "error"] == []


def unended(running: Bridge) -> Sequence[dict[str, Any]]:
    """Interceptions without an end."""
    return running.rows("SELECT id, model FROM interceptions WHERE ended_at IS NULL")


def lines(log: Path) -> list[dict[str, Any]]:
    """All lines of a log, Envoy's in it too, each of which is one JSON object."""
    found = [json.loads(line) for line in log.read_bytes().decode().split("\n") if line]
    assert all(isinstance(line, dict) for line in found)
    return found


def keeps_its_secrets(running: Bridge) -> None:
    """No key stands in any log or dump, and content in the records' lines alone."""
    said = lines(running.log)
    others = [line for line in said if line["event"] != RECORDS]
    access = lines(running.run / "access.log")
    assert said
    assert access
    assert [line for line in (*others, *access) if CONTENT in json.dumps(line)] == []
    dumps = b"".join(path.read_bytes() for path in (running.folder / "dumps").rglob("*") if path.is_file())
    written = running.log.read_bytes() + (running.run / "access.log").read_bytes() + dumps
    assert [secret for secret in SECRETS if secret.encode() in written] == []


def peak(pid: int) -> int:
    """The most memory (bytes) that this process has had at once, since `forget_peak`."""
    return _status(pid, "VmHWM")


def memory(pid: int) -> int:
    """How much it has now, in bytes."""
    return _status(pid, "VmRSS")


def forget_peak(pid: int) -> None:
    """Let `peak` begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, name: str) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
