"""Canaries planted in everything that goes through a bridge, and the search for them in everything that it says."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from examples.answers import Answer, error_answer, json_answer
from examples.events import Object, events, sse
from examples.otlp_receiver import Receiver
from examples.ports import number, reserved
from examples.provider import ThreadedProvider
from tests.e2e.bridges import CENTRAL_KEY, Bridge, bridge
from tests.e2e.connections import ask, asking
from tests.e2e.exchanges import EVENT_STREAM, final, streamed
from tests.e2e.scripts import Script
from tests.e2e.waiting import PATIENCE, eventually

PROMPT, ARGUMENT, THOUGHT, ANSWER = "canary-prompt", "canary-argument", "canary-thought", "canary-answer"
INSTRUCTIONS, MESSAGE = "canary-instructions", "canary-message"
CONTENT = (PROMPT, ARGUMENT, THOUGHT)  # what is recorded
UNRECORDED = (ANSWER, INSTRUCTIONS, MESSAGE)
CODE = "canary_code"  # the provider's of an error, which is no content: a word is recorded
SECRET = "sk-planted-0123456789abcdef"  # noqa: S105 - a canary
PATTERN = "sk-planted-[0-9a-f]{16}"
# What of it would tell: its halves, which a stream brings apart, and other ways to spell it.
TELLING = ("planted-0123", "456789abcdef", "u0073k-planted")
OWN_KEY = "sk-client-canary-0123456789abcdef"  # the client's, which goes to the provider
KEYS = (CENTRAL_KEY, OWN_KEY)
SPELT = "\\u0073" + SECRET[1:]
HALVES = (SECRET[:15], SECRET[15:])
SINKS = ("journal", "log", "dumps", "spans", "access", "metrics", "others")


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """All that a bridge has said, by where. `names`: the dumps'."""

    said: Mapping[str, bytes]
    names: tuple[str, ...]

    def holders(self, *words: str) -> set[str]:
        """Where one of the words stands."""
        return {place for place, said in self.said.items() if any(word.encode() in said for word in words)}

    def lost(self) -> list[dict[str, Any]]:
        """The log lines of the interception whose worker was killed. All but the first its parent says."""
        said = [json.loads(line) for line in self.said["log"].splitlines() if b'"interception log"' in line]
        (end,) = (line for line in said if line.get("error_type") == "lost")
        return [line for line in said if line["interception_id"] == end["interception_id"]]


def request(*, streams: bool = False) -> bytes:
    """A request with everything in it, the secret once as it is and once spelt otherwise."""
    call = {"type": "function_call", "call_id": "c_0", "name": "f", "arguments": f'{{"a":"{ARGUMENT} {SPELT}"}}'}
    asked = [call, {"role": "user", "content": f"{PROMPT} {SECRET}"}]
    body = {"model": "aster-2", "instructions": f"{INSTRUCTIONS} ESCAPED", "input": asked, "stream": streams}
    return json.dumps(body).replace("ESCAPED", SPELT).encode()


def response() -> dict[str, Any]:
    """The response to it."""
    call = {
        "type": "function_call", "id": "fc_1", "call_id": "c_1", "name": "f", "status": "completed",
        "arguments": f'{{"a":"{ARGUMENT} {SPELT}"}}',
    }  # fmt: skip
    thought = {
        "type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": f"{THOUGHT} {SECRET}"}],
    }  # fmt: skip
    said = final("planted")
    said["output"][0]["content"][0]["text"] = f"{ANSWER} {SECRET}"
    return {**said, "output": [thought, *said["output"], call], "instructions": f"{INSTRUCTIONS} {SECRET}"}


def deltas() -> Iterator[Object]:
    """The response as a stream, with the secret parted between deltas of each kind."""
    for event in events(response(), words=1):
        if event["type"] == "response.completed":
            for kind in ("output_text", "function_call_arguments", "reasoning_summary_text"):
                for half in HALVES:
                    yield {"type": f"response.{kind}.delta", "item_id": "i", "output_index": 0, "delta": half}
        yield event


@contextmanager
def planted(folder: Path, provider: ThreadedProvider, script: Script, **recorder: object) -> Iterator[Searched]:
    """What a bridge with these settings of `[recorder]` says of it all, in every way that a request goes."""
    with reserved() as held, Receiver() as receiver:
        telemetry = {
            "otlp_endpoint": receiver.endpoint,
            "content": True,
            "log_records": True,
            "metrics": f"127.0.0.1:{number(held)}",
        }
        stored = {"url": f"sqlite:///{folder}/records.db", **recorder}
        with bridge(
            folder, provider.url, telemetry=telemetry, recorder=stored, dump={"dir": str(folder / "dumps")}
        ) as running:
            _go_through(running, script)
            _roots(receiver, 3)  # what a worker that is killed has not sent yet nobody gets
            _kill_a_worker(running, provider, script)
            metrics = eventually(lambda: _metrics(number(held)), "metrics")
            _roots(receiver, 4)
            assert running.stop() == 0
        yield _searched(running, metrics, b"".join(receiver.payloads + receiver.metrics))


def _roots(receiver: Receiver, least: int) -> None:
    eventually(lambda: len([span for span in receiver.spans if span.name == "Intercept"]) >= least, f"{least} traces")


def _go_through(running: Bridge, script: Script) -> None:
    own = ("authorization", f"Bearer {OWN_KEY}")
    script["planted-whole"] = json_answer(response())
    assert ask(running.port, "planted-whole", request(), own).status == 200
    script["planted-streamed"] = Answer(content_type=EVENT_STREAM, body=tuple(map(sse, deltas())))
    assert ask(running.port, "planted-streamed", request(streams=True)).status == 200
    message = f"{MESSAGE}: Incorrect API key provided: {CENTRAL_KEY}, {OWN_KEY} {SECRET}"
    script["planted-wrong"] = error_answer(401, message, "invalid", CODE)
    assert ask(running.port, "planted-wrong", request(), own).status == 401
    assert ask(running.port, "planted-refused", request()[:-1], own).status == 400
    assert ask(running.port, "planted-passed", b"", own, method="GET", path="/openai/v1/models").status < 600


def _kill_a_worker(running: Bridge, provider: ThreadedProvider, script: Script) -> None:
    lost = f"planted-{running.folder.name}"  # what a provider has let go once it holds no more
    script[lost] = streamed("planted", hold=1)
    with asking(running.port, lost, request(streams=True)) as connection:
        connection.head()
        (interception,) = (one.interception["id"] for one in running.sessions(lost))
        eventually(
            lambda: f'"{interception}"' in running.output, "the line of its start, which a worker says by and by"
        )
        (worker,) = running.workers()
        os.kill(worker, signal.SIGABRT)
        provider.release(lost)
        connection.rest()
    assert running.ending(lost).ended == ("failed", "lost", None)
    eventually(lambda: ask(running.port, "planted-whole", request()).status == 200, "a new worker")


def _searched(running: Bridge, metrics: bytes, spans: bytes) -> Searched:
    dumps = running.folder / "dumps"
    said = dict.fromkeys(SINKS, b"") | {"metrics": metrics, "spans": spans}
    for path in running.folder.rglob("*"):
        if path.is_file() and path.name != "aibridge.toml":
            said[_sink(path, dumps)] += path.read_bytes()
    names = tuple(sorted(str(path.relative_to(dumps)) for path in dumps.rglob("*") if path.is_file()))
    return Searched(said=said, names=names)


def _sink(path: Path, dumps: Path) -> str:
    if dumps in path.parents:
        return "dumps"
    if path.name.startswith("records.db"):
        return "journal"
    return {"output.log": "log", "access.log": "access"}.get(path.name, "others")


def _metrics(port: int) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read()
    except OSError:
        return b""
    finally:
        connection.close()
