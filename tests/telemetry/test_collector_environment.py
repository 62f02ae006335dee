"""From the standard `OTEL_*` variables to what a collector gets that demands certificates: headers and all."""

from pathlib import Path

import pytest

from examples.otlp_receiver import decode
from sidecar.settings.sources import load
from sidecar.telemetry.traces.configure import configure
from tests.services import Certificates
from tests.telemetry.demanding import Got, grpc_collector, http_collector
from tests.telemetry.interceptions import PASSED, T
from tests.telemetry.stuck import Dropped

OTLP = "OTEL_EXPORTER_OTLP_"
HEADERS = f"{OTLP}HEADERS"
TRACES_HEADERS = f"{OTLP}TRACES_HEADERS"
BOTH = pytest.mark.parametrize("protocol", ["grpc", "http"])


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, theirs: Certificates, ours: Certificates) -> pytest.MonkeyPatch:
    """An environment that names their authority, and a certificate of ours."""
    monkeypatch.setenv(f"{OTLP}CERTIFICATE", str(theirs.ca))
    monkeypatch.setenv(f"{OTLP}CLIENT_CERTIFICATE", str(ours.cert))
    monkeypatch.setenv(f"{OTLP}CLIENT_KEY", str(ours.key))
    return monkeypatch


def sent(folder: Path, protocol: str, theirs: Certificates, ours: Certificates) -> tuple[Got, int]:
    """What a collector got of one span, and how many spans were counted as lost."""
    dropped = Dropped()
    with (grpc_collector if protocol == "grpc" else http_collector)(theirs, ours.ca) as (endpoint, got):
        file = folder / "aibridge.toml"
        file.write_text(f'telemetry = {{otlp_endpoint = "{endpoint}", otlp_protocol = "{protocol}"}}\n')
        traces = configure(load(file), "worker-0", dropped)
        traces.begin(None).observe([PASSED], T)
        traces.close(30)
    return got, dropped.by["export_failed"]


@BOTH
def test_headers_and_spans_arrive_over_tls(
    variables: pytest.MonkeyPatch, tmp_path: Path, protocol: str, theirs: Certificates, ours: Certificates
) -> None:
    variables.setenv(HEADERS, "x-tenant=aster,authorization=Bearer%20CANARY")
    ((headers, payload),), lost = sent(tmp_path, protocol, theirs, ours)
    assert {"x-tenant": "aster", "authorization": "Bearer CANARY"}.items() <= headers.items()
    assert [span.name for span in decode(payload)] == ["Passthrough"]
    assert lost == 0


@BOTH
def test_the_system_s_authorities_count_where_none_are_named(
    variables: pytest.MonkeyPatch, tmp_path: Path, protocol: str, theirs: Certificates, ours: Certificates
) -> None:
    """`SSL_CERT_FILE` says which these are; gRPC by itself has a list of its own."""
    variables.delenv(f"{OTLP}CERTIFICATE")
    variables.setenv("SSL_CERT_FILE", str(theirs.ca))
    found, lost = sent(tmp_path, protocol, theirs, ours)
    assert (len(found), lost) == (1, 0)


@BOTH
def test_headers_for_traces_take_the_place_of_those_for_all(
    variables: pytest.MonkeyPatch, tmp_path: Path, protocol: str, theirs: Certificates, ours: Certificates
) -> None:
    variables.setenv(HEADERS, "x-tenant=aster,x-all=1")
    variables.setenv(TRACES_HEADERS, "x-tenant=birch")
    ((headers, _),), _ = sent(tmp_path, protocol, theirs, ours)
    assert headers["x-tenant"] == "birch"
    assert "x-all" not in headers


@BOTH
@pytest.mark.parametrize("wrong", ["another authority", "no certificate"])
def test_who_is_not_known_gets_nothing_and_that_is_counted(  # noqa: PLR0913, PLR0917 - fixtures
    variables: pytest.MonkeyPatch, tmp_path: Path, protocol: str, theirs: Certificates, ours: Certificates, wrong: str
) -> None:
    if wrong == "another authority":
        variables.setenv(f"{OTLP}CERTIFICATE", str(ours.ca))
    else:
        variables.delenv(f"{OTLP}CLIENT_CERTIFICATE")
        variables.delenv(f"{OTLP}CLIENT_KEY")
    assert sent(tmp_path, protocol, theirs, ours) == ([], 1)
