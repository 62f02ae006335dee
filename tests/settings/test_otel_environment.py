"""The standard variables (OpenTelemetry: "OTLP Exporter Configuration"), as far as they are honoured."""

from pathlib import Path

import pytest
import trustme

from sidecar.core.errors import BadSetting
from sidecar.settings.otel import Otel, Way
from sidecar.settings.otel_environment import standard

PREFIX = "OTEL_EXPORTER_OTLP_"


def test_where_nothing_is_said_there_is_nothing() -> None:
    assert standard({}) == Otel()
    assert standard({f"{PREFIX}HEADERS": " ", f"{PREFIX}TIMEOUT": ""}) == Otel()


def test_headers_are_for_both_signals_unless_one_has_its_own() -> None:
    found = standard({f"{PREFIX}HEADERS": "X-Key=s%20c, b=2", f"{PREFIX}METRICS_HEADERS": "c=3"})
    told = {name: value.get_secret_value() for name, value in found.traces.headers.items()}
    assert told == {"x-key": "s c", "b": "2"}
    assert list(found.metrics.headers) == ["c"]
    assert "s c" not in repr(found)


def test_a_time_out_is_in_milliseconds() -> None:
    found = standard({f"{PREFIX}TIMEOUT": "1500", f"{PREFIX}TRACES_TIMEOUT": "2000"})
    assert (found.traces.timeout, found.metrics.timeout) == (2.0, 1.5)


def test_metrics_leave_as_often_as_is_said_in_milliseconds() -> None:
    assert standard({"OTEL_METRIC_EXPORT_INTERVAL": "250"}).interval == 0.25
    assert standard({}).interval == 60.0


@pytest.mark.parametrize(
    ("value", "pushes"),
    [("otlp", True), ("prometheus, otlp", True), ("", True), ("none", False), ("prometheus", False)],
)
def test_a_list_of_exporters_may_leave_ours_out(value: str, *, pushes: bool) -> None:
    assert standard({"OTEL_METRICS_EXPORTER": value}).pushes is pushes


def test_what_is_sent_is_packed_where_that_is_said() -> None:
    found = standard({f"{PREFIX}COMPRESSION": "gzip", f"{PREFIX}METRICS_COMPRESSION": "none"})
    assert (found.traces.gzip, found.metrics.gzip) == (True, False)
    assert not standard({}).traces.gzip


def test_certificates_are_files(tmp_path: Path) -> None:
    authority = trustme.CA()
    ours = authority.issue_cert("sidecar")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    ours.private_key_pem.write_to_path(tmp_path / "key.pem")
    names = {"CERTIFICATE": "ca.pem", "CLIENT_CERTIFICATE": "cert.pem", "CLIENT_KEY": "key.pem"}
    found = standard({f"{PREFIX}{name}": str(tmp_path / file) for name, file in names.items()})
    assert found.traces == Way(
        ca_file=tmp_path / "ca.pem", cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem"
    )
    with pytest.raises(BadSetting, match=rf"^{PREFIX}CLIENT_CERTIFICATE = .*allowed: a PEM file, and in "):
        standard({f"{PREFIX}CLIENT_CERTIFICATE": str(tmp_path / "cert.pem")})


def test_who_sends_is_named() -> None:
    found = standard({"OTEL_SERVICE_NAME": "mine", "OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs,team=a%2Cb"})
    assert found.resource == {"service.name": "mine", "team": "a,b"}


@pytest.mark.parametrize("value", ["99", "3600001", "soon", "-1", "nan"])
def test_an_interval_has_bounds(value: str) -> None:
    with pytest.raises(BadSetting, match=r"^OTEL_METRIC_EXPORT_INTERVAL = .*allowed: milliseconds, 100 to 3600000"):
        standard({"OTEL_METRIC_EXPORT_INTERVAL": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COMPRESSION", "zip"),
        ("HEADERS", "secret"),
        ("HEADERS", "grpc-x=secret"),
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "0"),
        ("CERTIFICATE", "/nowhere"),
        ("TRACES_CLIENT_KEY", "/nowhere"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=rf"^{PREFIX}{name} = ") as caught:
        standard({f"{PREFIX}{name}": value})
    assert "secret" not in str(caught.value)
