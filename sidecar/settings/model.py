"""The settings: their names, defaults and limits."""

import os
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from sidecar.core import policy
from sidecar.core.masks import Masks
from sidecar.core.privacy import Content, Gate
from sidecar.settings import checks
from sidecar.settings.console import Console
from sidecar.settings.credentials import Credentials
from sidecar.settings.identity import Identity, Issuer, PolicyRule, Tls, sound
from sidecar.settings.section import Address, OptionalFile, OptionalPath, Section
from sidecar.settings.telemetry import Dump, Telemetry

# sun_path of sockaddr_un holds 108 bytes, the last of them a NUL (unix(7)).
_SOCKET_BYTES = 107

LoopbackAddress = Annotated[str, AfterValidator(checks.loopback)]
HeaderName = Annotated[str, AfterValidator(checks.header)]
HeaderValue = Annotated[str, AfterValidator(checks.header_value)]
RetryStatus = Annotated[str, BeforeValidator(checks.retry_status)]
Bytes = Annotated[int, Field(gt=0, le=2**40)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
# Envoy waits 5 s for a reply (`message_timeout` of the bootstrap); then it goes on without, whatever we still wait for.
Wait = Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)]


StoreKind = Literal["sqlite", "postgresql", "service"]
ServerKind = Literal["asyncio", "completion_queue"]
STORE_KINDS: Final[Mapping[str, StoreKind]] = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "grpc": "service",
    "grpcs": "service",
}


class Provider(Section):
    """`[[providers]]`: one API, reached under `/<name>/v1`.

    `base_url` has no trailing slash. After `load`, `api_key` holds the file's content if `api_key_file` is set,
    unless it is Envoy that adds it.
    """

    name: Annotated[str, AfterValidator(checks.provider_name)] = "openai"
    type: Literal["openai"] = "openai"
    base_url: Annotated[str, AfterValidator(checks.base_url)] = "https://api.openai.com/v1"
    ca_file: OptionalFile = None
    api_key: Annotated[SecretStr | None, AfterValidator(checks.key)] = None
    api_key_file: OptionalFile = None
    auth_header: HeaderName = "authorization"
    byok: bool = True
    send_actor_headers: bool = False
    pass_cookies: bool = False
    allow_http: bool = False
    extra_headers: Annotated[dict[HeaderName, HeaderValue], BeforeValidator(checks.headers_once)] = Field(
        default_factory=dict,
        repr=False,  # some providers take their keys there
    )
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    retry_on: tuple[RetryStatus, ...] = ()

    @property
    def host(self) -> str:
        """The base URL's host; IPv6 without brackets."""
        return checks.server(self.base_url)[0]

    @property
    def port(self) -> int:
        """The base URL's TCP port."""
        return checks.server(self.base_url)[1]

    @property
    def tls(self) -> bool:
        """Whether the provider is reached over TLS."""
        return self.base_url.startswith("https:")

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key and self.api_key_file:
            checks.refuse("either api_key or api_key_file", "api_key_file", str(self.api_key_file))
        if not (self.tls or self.allow_http or checks.is_loopback(self.host)):
            allowed = "https, or http to loopback; allow_http = true sends keys over plain HTTP all the same"
            checks.refuse(allowed, "base_url", self.base_url)
        return self

    def policy(self) -> policy.Provider:
        """What the core needs of it."""
        return policy.Provider(
            name=self.name,
            type=self.type,
            base_url=self.base_url,
            api_key=self.api_key,
            auth_header=self.auth_header,
            byok=self.byok,
            send_actor_headers=self.send_actor_headers,
            pass_cookies=self.pass_cookies,
            extra_headers=self.extra_headers,
        )


class Recorder(Section):
    """`[recorder]`: where records go.

    The path in a `sqlite:///` URL is absolute. Of a `postgresql://` URL `url` keeps all but the password, which is in
    `password` then.
    """

    url: Annotated[str, AfterValidator(checks.store)] = "sqlite:///aibridge.db"
    password: SecretStr | None = None
    journal: OptionalPath = None
    max_journal_bytes: Annotated[int, Field(ge=1_048_576, le=2**50)] = 1_073_741_824
    when_full: Literal["refuse", "drop_oldest"] = "refuse"
    on_worker_loss: Literal["deliver", "cut"] = "deliver"
    retention_days: Annotated[int, Field(ge=0, le=36_525)] = 0
    content: Literal["full", "usage", "none"] = "full"
    mask: tuple[Annotated[str, AfterValidator(checks.pattern)], ...] = ()
    ca_file: OptionalFile = None
    cert_file: OptionalFile = None
    key_file: OptionalFile = None

    @model_validator(mode="before")
    @classmethod
    def _password_apart(cls, written: object) -> object:
        if isinstance(written, dict) and isinstance(url := written.get("url"), str):
            bare, password = checks.password_apart(url)
            if password is not None:
                return {"password": password} | written | {"url": bare}
        return written

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        checks.pair(self.cert_file, self.key_file)
        return self

    @property
    def place(self) -> str:
        """The URL without its parameters, of which some are secrets."""
        return self.url.partition("?")[0]

    @property
    def kind(self) -> StoreKind:
        """What the records' store is."""
        return STORE_KINDS[self.url.partition("://")[0]]


class Service(Section):
    """`[service]`: the Recorder service that `aibridge-sidecar recorder` offers to sidecars."""

    listen: Address = "127.0.0.1:9470"
    cert_file: OptionalFile = None
    key_file: OptionalFile = None
    client_ca_file: OptionalFile = None
    max_batch_bytes: Annotated[int, Field(ge=4_194_304, le=2**30)] = 33_554_432
    max_concurrent_batches: Annotated[int, Field(ge=1, le=1024)] = 16

    @model_validator(mode="after")
    def _sound(self) -> Self:
        checks.pair(self.cert_file, self.key_file, self.client_ca_file)
        if not self.cert_file and not checks.is_loopback(checks.host_and_port(self.listen)[0]):
            checks.refuse("an address on loopback; others need cert_file and key_file", "listen", self.listen)
        return self


class Limits(Section):
    """`[limits]`: sizes in bytes, times in seconds."""

    # A gRPC message, the request with its headers, has 31 bits of length.
    max_request_bytes: Annotated[int, Field(gt=0, le=2**30)] = 33_554_432
    max_response_bytes: Bytes = 67_108_864
    max_event_bytes: Bytes = 8_388_608
    max_recorded_bytes: Bytes = 1_048_576
    max_inflight_bytes: Bytes = 268_435_456
    max_envoy_bytes: Bytes = 1_073_741_824
    max_concurrent_streams: Annotated[int, Field(gt=0, le=2**31 - 1)] = 100
    request_timeout: Seconds = 600.0
    idle_timeout: Seconds = 3600.0
    start_commit_timeout: Wait = 2.0
    end_commit_timeout: Wait = 1.0


class Settings(Section):
    """All settings, sound together. Paths are absolute. Made by `load`; made directly it reads no environment."""

    listen: Address = "127.0.0.1:10000"
    admin: LoopbackAddress = "127.0.0.1:9901"
    runtime_dir: Annotated[Path, AfterValidator(checks.path)] = Path(".aibridge/run")
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    grpc_server: ServerKind = "asyncio"
    verdict: Annotated[str, AfterValidator(checks.verdict)] = "allow"
    envoy: OptionalFile = None
    identity: Identity = Field(default_factory=Identity)
    issuers: tuple[Issuer, ...] = ()
    tls: Tls = Field(default_factory=Tls)
    credentials: Credentials = Field(default_factory=Credentials)
    policies: tuple[PolicyRule, ...] = ()
    providers: tuple[Provider, ...] = Field(default_factory=lambda: (Provider(),))
    recorder: Recorder = Field(default_factory=Recorder)
    telemetry: Telemetry = Field(default_factory=Telemetry)
    limits: Limits = Field(default_factory=Limits)
    service: Service = Field(default_factory=Service)
    dump: Dump = Field(default_factory=Dump)
    console: Console = Field(default_factory=Console)

    @model_validator(mode="after")
    def _together(self) -> Self:
        names = [provider.name for provider in self.providers]
        if len(set(names)) != len(names) or not names:
            checks.refuse("at least one, and each name once", "providers", ", ".join(names))
        listen, admin = checks.host_and_port(self.listen), checks.host_and_port(self.admin)
        if not checks.is_loopback(listen[0]) and not self._is_proved:
            needed = "identity.trusted_cidrs, another identity.source, or identity.trust_header = true"
            checks.refuse(f"an address on loopback; others need {needed}", "listen", self.listen)
        if listen == admin:
            checks.refuse("another address than listen's", "admin", self.admin)
        metrics = self.telemetry.metrics
        if metrics and checks.host_and_port(metrics) in (listen, admin):
            checks.refuse("another address than listen's and admin's", "telemetry.metrics", metrics)
        last = self.socket(self.workers - 1)
        if len(os.fsencode(last)) > _SOCKET_BYTES:
            allowed = f"a path that leaves {last.name} in it with {_SOCKET_BYTES} bytes at most"
            checks.refuse(allowed, "runtime_dir", str(self.runtime_dir))
        return self

    @model_validator(mode="after")
    def _identified(self) -> Self:
        sound(self.identity, self.issuers, self.tls)
        return self

    @property
    def _is_proved(self) -> bool:
        """Whether nobody can name another as the actor, or the operator has seen to that."""
        identity = self.identity
        return identity.source != "header" or bool(identity.trusted_cidrs) or identity.trust_header

    @property
    def identity_header(self) -> str:
        """What names the actor, or proves who it is; nobody's key for a provider."""
        return self.identity.token_header if self.identity.has_token else self.identity.header

    @property
    def client_keys(self) -> Path:
        """What Envoy reads of `identity.keys_file`."""
        return self.runtime_dir / "client-keys.json"

    @property
    def issuer_keys(self) -> Path:
        """What Envoy reads of `issuers.jwks_file`."""
        return self.runtime_dir / "issuer-keys.json"

    @property
    def secrets(self) -> Path:
        """The folder of what Envoy reads of keys and certificates; apart, since it watches all that happens there."""
        return self.runtime_dir / "secrets"

    def secret(self, name: str) -> Path:
        """What Envoy reads of the secret of that name."""
        return self.secrets / f"{name}.json"

    @property
    def key_hints(self) -> Path:
        """What workers read of the keys that Envoy adds."""
        return self.runtime_dir / "key-hints.json"

    def is_injected(self, provider: Provider) -> bool:
        """Whether it is Envoy that puts the central key of `provider` into requests."""
        return self.credentials.inject_by == "envoy" and bool(provider.api_key or provider.api_key_file)

    @property
    def database(self) -> Path:
        """The local journal: the store itself where that is SQLite, else what is forwarded from."""
        if self.recorder.kind == "sqlite":
            return Path(self.recorder.url.removeprefix("sqlite:///"))
        return self.recorder.journal or self.runtime_dir.parent / "journal.db"

    @property
    def is_forwarded(self) -> bool:
        """Whether the records' store is another than the local journal."""
        return self.recorder.kind != "sqlite"

    @property
    def needs_keeper(self) -> bool:
        """Whether there is something to forward, or to delete when it is too old, or a collector to send metrics to."""
        return self.is_forwarded or self.recorder.retention_days > 0 or self.telemetry.pushes_metrics

    def without_store_credentials(self) -> Self:
        """The same, for those who have no business with the records' store, nor with who looks into it."""
        bare = self.recorder.model_copy(update={"password": None, "url": self.recorder.place})
        return self.model_copy(update={"recorder": bare, "console": Console()})

    def without_injected_keys(self) -> Self:
        """The same, for those who need not know the keys that Envoy adds."""
        if self.credentials.inject_by != "envoy":
            return self
        return self._with_providers(api_key=None, api_key_file=None)

    def without_provider_keys(self) -> Self:
        """The same, for those who have no business with the providers, nor with who looks into the records."""
        return self._with_providers(api_key=None, extra_headers={}).model_copy(update={"console": Console()})

    def _with_providers(self, **changes: object) -> Self:
        return self.model_copy(update={"providers": tuple(one.model_copy(update=changes) for one in self.providers)})

    def socket(self, index: int) -> Path:
        """The Unix socket of worker `index`, counted from 0."""
        return self.runtime_dir / f"worker-{index}.sock"

    def gate(self) -> Gate:
        """What passes to those who keep or show records."""
        return Gate(Content(self.recorder.content), Masks(self.recorder.mask))

    def policy(self) -> policy.Policy:
        """What the core decides by."""
        return policy.Policy(
            providers={provider.name: provider.policy() for provider in self.providers},
            source=policy.Source(self.identity.source),
            identity_header=self.identity_header,
            default_actor=self.identity.default_actor,
            trusted=tuple(map(ip_network, self.identity.trusted_cidrs)),
            claim=self.identity.claim,
            metadata_claims=self.identity.metadata_claims,
            permissions=tuple(rule.permission() for rule in self.policies),
            bounds=policy.Bounds(
                request_bytes=self.limits.max_request_bytes,
                response_bytes=self.limits.max_response_bytes,
                event_bytes=self.limits.max_event_bytes,
                recorded_bytes=self.limits.max_recorded_bytes,
                request_timeout=self.limits.request_timeout,
            ),
        )


def defaults() -> Settings:
    """The settings as they are when nobody says anything: no file, no environment, paths as they are written above."""
    return Settings.model_construct()
