"""The settings of what is seen beside the records: traces, metrics, log lines, dumps."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr

from sidecar.settings import checks
from sidecar.settings.otel import Otel, Signal
from sidecar.settings.section import OptionalPath, Section

_HTTP_OTLP_PORT = 4318
_SECRET_HEADERS = (
    "api-key",
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "x-api-key",
)


class Telemetry(Section):
    """`[telemetry]`: traces, metrics and log lines."""

    otlp_endpoint: Annotated[str, AfterValidator(checks.endpoint_or_off)] = ""
    otlp_protocol: Literal["", "grpc", "http"] = ""
    metrics: Annotated[str, AfterValidator(checks.loopback_or_off)] = "127.0.0.1:9464"
    profile: Literal["genai", "genai-next", "openinference"] = "genai"
    content: bool = False
    log_records: bool = False
    log_format: Literal["", "json", "console"] = ""
    actor_label: bool = False
    max_label_values: Annotated[int, Field(ge=1, le=10_000)] = 100
    _otel: Otel = PrivateAttr(default=Otel())  # no key of the file: see `otel_environment`

    @property
    def protocol(self) -> Literal["grpc", "http"]:
        """How `otlp_endpoint` is spoken to: as set, else by its port and path (OTLP 1.x: 4317 gRPC, 4318 HTTP)."""
        if self.otlp_protocol:
            return self.otlp_protocol
        url = urlsplit(self.otlp_endpoint)
        return "http" if url.port == _HTTP_OTLP_PORT or url.path.strip("/") else "grpc"

    @property
    def otel(self) -> Otel:
        """What the standard `OTEL_*` variables say."""
        return self._otel

    @property
    def pushes_metrics(self) -> bool:
        """Whether metrics go to `otlp_endpoint`, as traces do."""
        return bool(self.otlp_endpoint) and self._otel.pushes

    def told(self, otel: Otel) -> Self:
        """The same, with what the standard variables say."""
        copy = self.model_copy()
        copy._otel = otel  # noqa: SLF001 -- our own copy
        return copy

    def url(self, signal: Signal) -> str:
        """Where OTLP/HTTP takes `signal`: the endpoint, with the specification's `/v1/…` unless it ends in one."""
        base = self.otlp_endpoint.rstrip("/").removesuffix("/v1/traces").removesuffix("/v1/metrics")
        return f"{base}/v1/{signal}"


class Dump(Section):
    """`[dump]`: requests and responses as files, for debugging. `masked_headers` joins those that are always masked."""

    dir: OptionalPath = None
    max_file_bytes: Annotated[int, Field(ge=4096, le=2**40)] = 16_777_216
    max_bytes: Annotated[int, Field(ge=1_048_576, le=2**50)] = 1_073_741_824
    max_age_hours: Annotated[float, Field(gt=0, le=87_600, allow_inf_nan=False)] = 24.0
    masked_headers: tuple[Annotated[str, AfterValidator(checks.header_name)], ...] = _SECRET_HEADERS
