import subprocess
import sys
import threading
from importlib.metadata import version
from time import monotonic

import pytest
from structlog.testing import capture_logs

from examples.otlp_receiver import Receiver, Span
from sidecar.settings import Settings, Telemetry
from sidecar.telemetry.metrics import NoMetrics
from sidecar.telemetry.traces import NoTraces, Traces
from sidecar.telemetry.traces.configure import configure
from tests.telemetry.interceptions import (
    ANSWER,
    CALLS,
    CLIENT,
    COMMON,
    ENDED,
    FORWARDED,
    LIMITED,
    PASSED,
    PROMPT,
    REQUEST,
    STARTED,
    THOUGHT,
    TOKENS,
    TOOL,
    USAGE,
    T,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{CALLER}-01"
TREE = {
    "Intercept": (CALLER, 0, 4500, "INTERNAL", {**COMMON, **CLIENT}),
    "Intercept.CreateInterceptor": ("Intercept", 0, 250, "INTERNAL", COMMON),
    "Intercept.RecordInterception": ("Intercept", 250, 500, "INTERNAL", COMMON),
    "Intercept.ProcessRequest": ("Intercept", 500, 4000, "INTERNAL", COMMON),
    "Intercept.ProcessRequest.Upstream": (
        "Intercept.ProcessRequest",
        750,
        4000,
        "CLIENT",
        {**COMMON, **CLIENT, **REQUEST, **ANSWER, **USAGE, **CALLS},
    ),
    "Intercept.RecordPromptUsage": ("Intercept.ProcessRequest", 4000, 4500, "INTERNAL", COMMON),
    "Intercept.RecordTokenUsage": ("Intercept.ProcessRequest", 4000, 4500, "INTERNAL", COMMON),
    "Intercept.RecordToolUsage": ("Intercept.ProcessRequest", 4000, 4500, "INTERNAL", COMMON),
    "Intercept.RecordModelThought": ("Intercept.ProcessRequest", 4000, 4500, "INTERNAL", COMMON),
    "Intercept.RecordInterceptionEnded": ("Intercept", 4000, 4500, "INTERNAL", COMMON),
}


def traces(endpoint: str, protocol: str) -> Traces:
    return configure(
        Settings(telemetry=Telemetry(otlp_endpoint=endpoint, otlp_protocol=protocol)), "worker-0", NoMetrics()
    )


def play(running: Traces) -> None:
    trace = running.begin(SAMPLED)
    trace.observe([STARTED], T + 0.5)
    trace.observe([FORWARDED], None)
    trace.observe([PROMPT, TOKENS, TOOL, THOUGHT, ENDED], T + 4.5)


def facts(spans: tuple[Span, ...]) -> dict[str, tuple[str, int, int, str, dict[str, object]]]:
    """Each span's name, and: its parent's name or id, start and end in milliseconds after T, kind, attributes."""
    names = {span.span_id: span.name for span in spans}
    return {
        span.name: (
            names.get(span.parent_id, span.parent_id),
            span.start // 1_000_000 - 1_800_000_000_000,
            span.end // 1_000_000 - 1_800_000_000_000,
            span.kind,
            dict(span.attributes),
        )
        for span in spans
    }


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_gets_the_whole_tree(protocol: str) -> None:
    with Receiver() as receiver:
        running = traces(receiver.endpoint if protocol == "grpc" else receiver.http_endpoint, protocol)
        play(running)
        running.close(30)
        spans = receiver.spans
    assert facts(spans) == TREE
    assert {span.trace_id for span in spans} == {TRACE}
    assert {span.error for span in spans} == {None}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_no_content_leaves_with_the_spans(protocol: str) -> None:
    """Prompts, tools' inputs, thoughts, hints of keys and what clients say of themselves stay in the journal."""
    with Receiver() as receiver:
        running = traces(receiver.endpoint if protocol == "grpc" else receiver.http_endpoint, protocol)
        play(running)
        running.begin(None).observe([STARTED, LIMITED], T + 3)
        running.begin(None).observe([PASSED], None)
        running.close(30)
        payloads = receiver.payloads
    assert b"alice" in b"".join(payloads)
    assert b"CANARY" not in b"".join(payloads)


def test_spans_leave_without_being_asked() -> None:
    with Receiver() as receiver:
        running = traces(receiver.endpoint, "grpc")
        play(running)
        assert receiver.wait(lambda spans: len(spans) == 10, 30)
        running.close(30)


def test_the_resource_names_the_worker() -> None:
    with Receiver() as receiver:
        running = traces(receiver.endpoint, "grpc")
        running.begin(None).observe([PASSED], None)
        running.close(30)
        (span,) = receiver.spans
    assert {
        "service.name": "aibridge-sidecar",
        "service.version": version("aibridge-sidecar"),
        "service.instance.id": "worker-0",
    }.items() <= span.resource.items()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_that_is_gone_harms_nobody(protocol: str) -> None:
    with Receiver() as receiver:
        endpoint = receiver.endpoint if protocol == "grpc" else receiver.http_endpoint
    running = traces(endpoint, protocol)
    with capture_logs() as logged:
        play(running)
        before = monotonic()
        running.close(0.2)
        assert monotonic() - before < 10
        play(running)
        for thread in threading.enumerate():
            if thread.name == "OtelBatchSpanRecordProcessor":  # it has been told to give up
                thread.join(30)
    assert {line["event"] for line in logged} == {
        "telemetry.otlp_endpoint takes no spans; they are dropped until it does"
    }


def test_what_clients_send_as_tracestate_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK warns of each bad one, with its text."""
    with Receiver() as receiver:
        running = traces(receiver.endpoint, "grpc")
        running.begin(SAMPLED, "CANARY CANARY=,=").observe([PASSED], None)
        running.begin(SAMPLED, "a=1," * 1000).observe([PASSED], None)
        running.close(30)
        assert len(receiver.spans) == 2
    assert caplog.messages == []


def test_without_an_endpoint_there_are_no_traces() -> None:
    assert isinstance(traces("", "grpc"), NoTraces)


def test_who_wants_no_traces_does_not_load_the_sdk() -> None:
    """It costs memory in every worker, and time at every start."""
    program = """
import sys
from sidecar.settings import Settings
from sidecar.telemetry.traces.configure import configure
from sidecar.telemetry.metrics import NoMetrics
configure(Settings(), "worker-0", NoMetrics()).begin(None)
sys.exit("opentelemetry.sdk" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
