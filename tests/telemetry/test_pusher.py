"""Metrics on their way to a collector: real ones, over gRPC and HTTP, and some that are none."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from examples.otlp_receiver import Receiver
from sidecar.settings import Settings, Telemetry
from sidecar.settings.otel import Otel, Way
from sidecar.telemetry.metrics import Metric, folder, pusher, sheets
from sidecar.telemetry.metrics.pusher import Pusher
from sidecar.telemetry.metrics.pushes import NoPushes, begun
from sidecar.telemetry.metrics.readings import encode
from tests.e2e.waiting import PATIENCE, eventually
from tests.telemetry.collectors import hanging, moody
from tests.telemetry.counted import Listed
from tests.telemetry.pushed import Pushed, as_prometheus, decode, page

FAILED = (Metric.METRIC_PUSH_FAILURES_TOTAL, 1.0, ())
STALLS = Metric.JOURNAL_STALLS_TOTAL.otlp_name
SINCE = 1_800_000_000.5
AT_ONCE = Otel(interval=0.05, metrics=Way(timeout=0.5))
ONLY_IN_THE_END = Otel(interval=3600.0)
Begin = Callable[..., Pusher]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Pushes to an endpoint what a worker has counted: five stalls."""
    counted = sheets.opened(Settings(runtime_dir=tmp_path, telemetry=Telemetry(metrics="127.0.0.1:1")), "worker-0")
    counted.add(Metric.JOURNAL_STALLS_TOTAL, 5)
    counted.close()
    with ExitStack() as stack:

        def pushing(endpoint: str, otel: Otel, metrics: Listed | None = None, protocol: str = "") -> Pusher:
            telemetry = Telemetry(otlp_endpoint=endpoint, otlp_protocol=protocol, metrics="").told(otel)
            settings = Settings(runtime_dir=tmp_path, telemetry=telemetry)
            started = begun(settings, "host:10000:ab", SINCE, metrics or Listed())
            assert isinstance(started, Pusher)
            stack.callback(started.close, PATIENCE)
            return started

        yield pushing


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def arrived(receiver: Receiver) -> list[Pushed]:
    return [point for payload in receiver.metrics for point in decode(payload)]


def endpoint(receiver: Receiver, protocol: str) -> str:
    return receiver.endpoint if protocol == "grpc" else receiver.http_endpoint


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_it_pushes_again_and_again_what_the_page_shows(
    begin: Begin, receiver: Receiver, tmp_path: Path, protocol: str
) -> None:
    begin(endpoint(receiver, protocol), AT_ONCE, protocol=protocol)
    eventually(lambda: len(receiver.metrics) > 2, "three pushes")
    for payload in receiver.metrics:
        assert as_prometheus(decode(payload)) == page(folder(Settings(runtime_dir=tmp_path)))


def test_what_is_there_at_the_end_is_pushed_at_the_end(begin: Begin, receiver: Receiver, tmp_path: Path) -> None:
    running = begin(receiver.endpoint, ONLY_IN_THE_END)
    late = sheets.opened(Settings(runtime_dir=tmp_path), "keeper")
    late.add(Metric.JOURNAL_STALLS_TOTAL, 2)
    late.close()
    assert receiver.metrics == ()
    assert running.close(PATIENCE)
    assert [point.values for point in arrived(receiver) if point.name == STALLS] == [(7.0,)]
    assert running.close(PATIENCE)
    assert len(receiver.metrics) == 1


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_headers_go_along_and_gzip_is_understood(
    begin: Begin, receiver: Receiver, protocol: str, *, packed: bool
) -> None:
    way = Way(headers={"x-key": SecretStr("s c")}, gzip=packed)
    running = begin(endpoint(receiver, protocol), replace(ONLY_IN_THE_END, metrics=way), protocol=protocol)
    assert running.close(PATIENCE)
    assert [headers["x-key"] for headers in receiver.headers] == ["s c"]
    if protocol == "http":  # gRPC keeps it to itself
        assert [headers.get("content-encoding") for headers in receiver.headers] == ["gzip" if packed else None]
    assert STALLS in {point.name for point in arrived(receiver)}


def test_who_sends_is_the_bridge_since_it_began(begin: Begin, receiver: Receiver) -> None:
    assert begin(receiver.endpoint, ONLY_IN_THE_END).close(PATIENCE)
    first = arrived(receiver)[0]
    assert first.sender == {
        "service.name": "aibridge-sidecar",
        "service.version": version("aibridge-sidecar"),
        "service.instance.id": "host:10000:ab",
    }
    assert first.since == 1_800_000_000_500_000_000


def test_an_operator_may_name_who_sends(begin: Begin, receiver: Receiver) -> None:
    """Else a restart makes series of a new name, as it does for traces."""
    named = {"service.name": "mine", "service.instance.id": "stable"}
    assert begin(receiver.endpoint, replace(ONLY_IN_THE_END, resource=named)).close(PATIENCE)
    assert named.items() <= arrived(receiver)[0].sender.items()


def test_much_goes_in_several_messages(begin: Begin, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusher, "encode", partial(encode, most=200))
    assert begin(receiver.endpoint, ONLY_IN_THE_END).close(PATIENCE)
    names = [point.name for point in arrived(receiver)]
    assert len(names) == len(set(names)) > len(receiver.metrics) > 2


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_that_hangs_holds_up_nobody(begin: Begin, protocol: str) -> None:
    """Neither the end, nor more than one thread; what it missed waits nowhere."""
    counted = Listed()
    with hanging() as nowhere, capture_logs() as logged:
        running = begin(nowhere, AT_ONCE, counted, protocol)
        eventually(lambda: len(counted.told) > 1, "two pushes that were given up")
        assert [thread.name for thread in threading.enumerate()].count("pushes") == 1
        assert not running.close(0.0)
        assert running.close(PATIENCE)
    assert set(counted.told) == {FAILED}
    assert [(line["log_level"], line["reason"]) for line in logged] == [("warning", "unavailable")]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_outage_is_told_when_it_begins_and_when_it_ends(begin: Begin, protocol: str) -> None:
    """And what was missed meanwhile is in the next push that arrives."""
    counted = Listed()
    with moody(protocol) as collector, capture_logs() as logged:
        running = begin(collector.endpoint, AT_ONCE, counted, protocol)
        eventually(lambda: len(counted.told) > 2, "some that did not arrive")
        collector.takes = True
        eventually(lambda: len(collector.got) > 1, "some that did")
        assert running.close(PATIENCE)
    assert set(counted.told) == {FAILED}
    assert [line["event"].partition(";")[0] for line in logged] == [
        "no metrics reach telemetry.otlp_endpoint",
        "metrics reach telemetry.otlp_endpoint again",
    ]
    assert "CANARY" not in str(logged)
    assert {point.values for point in decode(collector.got[0]) if point.name == STALLS} == {(5.0,)}


def test_a_certificate_that_is_gone_is_a_warning(begin: Begin, tmp_path: Path) -> None:
    counted = Listed()
    way = Way(ca_file=tmp_path / "gone.pem")
    with capture_logs() as logged:
        assert begin("https://127.0.0.1:1", replace(ONLY_IN_THE_END, metrics=way), counted, "grpc").close(PATIENCE)
    assert counted.told == [FAILED]
    assert "gone.pem" in logged[0]["reason"]


@pytest.mark.parametrize("content", [b"", b"\x40\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00not JSON"])
def test_a_file_that_is_broken_costs_the_push_alone(
    begin: Begin, receiver: Receiver, tmp_path: Path, content: bytes
) -> None:
    broken = folder(Settings(runtime_dir=tmp_path)) / "counter_worker-1.db"
    broken.write_bytes(content)
    counted = Listed()
    begin(receiver.endpoint, AT_ONCE, counted)
    eventually(lambda: counted.told, "one that failed")
    broken.unlink()
    eventually(lambda: receiver.metrics, "one that did not")


@pytest.mark.parametrize(
    ("where", "otel"), [("", Otel()), ("http://127.0.0.1:4317", Otel(pushes=False))], ids=["no endpoint", "no exporter"]
)
def test_who_wants_none_has_none(tmp_path: Path, where: str, otel: Otel) -> None:
    telemetry = Telemetry(otlp_endpoint=where, metrics="").told(otel)
    settings = Settings(runtime_dir=tmp_path, telemetry=telemetry)
    assert isinstance(begun(settings, "", 0.0, Listed()), NoPushes)
    sheets.opened(settings, "worker-0").close()
    assert not folder(settings).exists()
    assert not settings.needs_keeper
