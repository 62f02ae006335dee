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


@pytest.mark.parametrize(
    ("name", "value"),
    [
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
