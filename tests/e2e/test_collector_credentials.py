"""A collector behind TLS that wants a certificate and a token: the sidecar's spans come to it, and Envoy's own."""

from pathlib import Path
from urllib.parse import quote

import pytest

from examples.otlp_receiver import decode
from examples.provider import ThreadedProvider
from tests.e2e.bridges import bridge
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.waiting import eventually
from tests.services import certificates
from tests.telemetry.demanding import Got, grpc_collector, http_collector

OTLP = "OTEL_EXPORTER_OTLP_"
# Envoy reads commands between percent signs, and of gRPC's metadata cannot be told otherwise.
TOKENS = {"grpc": "Bearer CANARY", "http": "Bearer 100% CANARY"}


def came(got: Got) -> set[tuple[str, str]]:
    """Whose spans came, and with which token."""
    return {
        (str(span.resource["service.name"]), headers.get("authorization", "none"))
        for headers, payload in got
        for span in decode(payload)
    }


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_envoys_spans_come_as_the_sidecars_do(
    tmp_path: Path, provider: ThreadedProvider, script: Script, case: str, protocol: str
) -> None:
    token = TOKENS[protocol]
    theirs, ours = certificates(tmp_path / "theirs"), certificates(tmp_path / "ours")
    variables = {
        f"{OTLP}HEADERS": f"authorization={quote(token)}",
        f"{OTLP}CERTIFICATE": str(theirs.ca),
        f"{OTLP}CLIENT_CERTIFICATE": str(ours.cert),
        f"{OTLP}CLIENT_KEY": str(ours.key),
    }
    with (grpc_collector if protocol == "grpc" else http_collector)(theirs, ours.ca) as (endpoint, got):
        telemetry = {"otlp_endpoint": endpoint, "otlp_protocol": protocol}
        with bridge(tmp_path, provider.url, variables=variables, telemetry=telemetry) as running:
            script[case] = whole(case)
            assert ask(running.port, case, ASKED).status == 200
            both = {("aibridge-envoy", token), ("aibridge-sidecar", token)}
            eventually(lambda: came(got) >= both, "spans of both")
            assert came(got) == both
            file = running.run / "envoy.yaml"
            assert file.stat().st_mode & 0o077 == 0, "the token is in it"
