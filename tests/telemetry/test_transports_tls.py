"""The way to a collector over TLS, with certificates on both sides."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from sidecar.core.errors import SidecarError
from sidecar.settings.otel import Way
from sidecar.telemetry.transports import METHODS, Grpc, Http, Outcome, Transport
from tests.services import Certificates
from tests.telemetry.demanding import grpc_collector, http_collector


def to_grpc(endpoint: str, way: Way) -> Transport:
    return Grpc(endpoint, METHODS["metrics"], way)


def to_http(endpoint: str, way: Way) -> Transport:
    return Http(f"{endpoint}/v1/metrics", way)


BOTH = pytest.mark.parametrize(("collector", "to"), [(grpc_collector, to_grpc), (http_collector, to_http)])
Collector = Callable[..., object]
To = Callable[[str, Way], Transport]


@pytest.fixture
def way(theirs: Certificates, ours: Certificates) -> Way:
    return Way(ca_file=theirs.ca, cert_file=ours.cert, key_file=ours.key, timeout=5.0)


@BOTH
def test_both_sides_show_their_certificates(
    collector: Collector, to: To, theirs: Certificates, ours: Certificates, way: Way
) -> None:
    with collector(theirs, ours.ca, "metrics") as (endpoint, got):
        transport = to(endpoint, way)
        assert transport.send(b"") is Outcome.DELIVERED
        transport.close()
        assert [payload for _, payload in got] == [b""]


@BOTH
@pytest.mark.parametrize("wrong", ["another authority", "no certificate"])
def test_who_is_not_known_gets_nothing(  # noqa: PLR0913, PLR0917 - fixtures
    collector: Collector, to: To, theirs: Certificates, ours: Certificates, way: Way, wrong: str
) -> None:
    """Neither a collector by an authority that was not named, nor is a sender without certificate heard."""
    changed = {"ca_file": ours.ca} if wrong == "another authority" else {"cert_file": None, "key_file": None}
    with collector(theirs, ours.ca, "metrics") as (endpoint, got):
        transport = to(endpoint, replace(way, **changed, timeout=1.0))
        assert transport.send(b"") is Outcome.UNAVAILABLE
        transport.close()
        assert got == []


@pytest.mark.parametrize("to", [to_grpc, to_http])
def test_a_certificate_that_has_gone_is_named(to: To, way: Way) -> None:
    assert way.cert_file
    way.cert_file.unlink()
    with pytest.raises(SidecarError, match=r"cert\.pem, for telemetry\.otlp_endpoint, cannot be used"):
        to("https://127.0.0.1:1", way)
