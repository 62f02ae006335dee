import os
import pickle
from pathlib import Path

import pytest
from pydantic import SecretStr

from sidecar.core.policy import Bounds, Policy
from sidecar.core.policy import Provider as ProviderPolicy
from sidecar.settings import (
    Console,
    Dump,
    Identity,
    Limits,
    Provider,
    Recorder,
    Settings,
    Telemetry,
    bare_environment,
    defaults,
    host_and_port,
    load,
)
from sidecar.settings.checks import server

KEY = "sk-secret-0123456789"
EVERYTHING = """
listen = "[::1]:10001"
admin = "127.0.0.1:9902"
runtime_dir = "run"
workers = 3
verdict = "yes"

[identity]
source = "header"
header = "X-User"
default_actor = "bob"
trust_header = true

[[providers]]
name = "openai-eu"
type = "openai"
base_url = "HTTPS://EU.api.openai.com:8443/v1/"
api_key = "sk-secret-0123456789"
auth_header = "X-Key"
byok = false
send_actor_headers = true
pass_cookies = true
allow_http = true
extra_headers = { OpenAI-Organization = "org" }
max_retries = 0
retry_on = ["5xx", 429]

[recorder]
url = "sqlite:///sub/records.db"
journal = "journal.db"

[telemetry]
otlp_endpoint = "http://127.0.0.1:4317"
otlp_protocol = "grpc"
metrics = ""

[limits]
max_request_bytes = 1
max_response_bytes = 2
max_event_bytes = 3
max_recorded_bytes = 4
max_inflight_bytes = 5
max_envoy_bytes = 55
max_concurrent_streams = 6
request_timeout = 7
idle_timeout = 8.5
start_commit_timeout = 0.5
end_commit_timeout = 4

[dump]
dir = "dumps"
max_file_bytes = 4096
max_bytes = 1048576
max_age_hours = 0.5
masked_headers = ["X-Secret"]

[console]
listen = "0.0.0.0:80"
token = "open-sesame"
behind_proxy = true
"""


def written(text: str) -> Settings:
    file = Path("some.toml")
    file.write_text(text, "utf-8")
    return load(file)


def test_nothing_said_means_the_defaults(nowhere: Path) -> None:
    settings = load(None)
    assert settings.listen == "127.0.0.1:10000"
    assert settings.admin == "127.0.0.1:9901"
    assert settings.runtime_dir == nowhere / ".aibridge/run"
    assert settings.workers == 1
    assert settings.verdict == "allow"
    assert settings.envoy is None
    assert settings.database == nowhere / "aibridge.db"
    assert settings.identity == Identity(
        source="header", header="x-forwarded-user", default_actor="", trust_header=False
    )
    assert settings.recorder == Recorder(url="sqlite:///aibridge.db", journal=None)
    assert settings.telemetry == Telemetry(otlp_endpoint="", otlp_protocol="", metrics="127.0.0.1:9464")
    assert settings.limits == Limits(
        max_request_bytes=33_554_432,
        max_response_bytes=67_108_864,
        max_event_bytes=8_388_608,
        max_recorded_bytes=1_048_576,
        max_inflight_bytes=268_435_456,
        max_envoy_bytes=1_073_741_824,
        max_concurrent_streams=100,
        request_timeout=600.0,
        idle_timeout=3600.0,
        start_commit_timeout=2.0,
        end_commit_timeout=1.0,
    )
    provider = settings.providers[0].model_copy(update={"ca_file": None})
    assert (len(settings.providers), provider) == (1, Provider(name="openai", base_url="https://api.openai.com/v1"))


def test_every_setting_can_stand_in_the_file(nowhere: Path) -> None:
    settings = written(EVERYTHING)
    provider = settings.providers[0].model_copy(update={"ca_file": None})
    assert (settings.listen, settings.admin, settings.workers, settings.verdict) == (
        "[::1]:10001",
        "127.0.0.1:9902",
        3,
        "yes",
    )
    assert settings.runtime_dir == nowhere / "run"
    assert settings.identity == Identity(header="x-user", default_actor="bob", trust_header=True)
    assert provider == Provider(
        name="openai-eu",
        base_url="https://eu.api.openai.com:8443/v1",
        api_key=SecretStr(KEY),
        auth_header="x-key",
        byok=False,
        send_actor_headers=True,
        pass_cookies=True,
        allow_http=True,
        extra_headers={"openai-organization": "org"},
        max_retries=0,
        retry_on=("5xx", "429"),
    )
    assert settings.recorder == Recorder(url=f"sqlite:///{nowhere}/sub/records.db", journal=nowhere / "journal.db")
    assert settings.telemetry == Telemetry(otlp_endpoint="http://127.0.0.1:4317", otlp_protocol="grpc", metrics="")
    assert tuple(settings.limits.model_dump().values()) == (1, 2, 3, 4, 5, 55, 6, 7.0, 8.5, 0.5, 4.0)
    assert settings.dump == Dump(
        dir=nowhere / "dumps",
        max_file_bytes=4096,
        max_bytes=1_048_576,
        max_age_hours=0.5,
        masked_headers=("x-secret",),
    )
    assert settings.console == Console(listen="0.0.0.0:80", token=SecretStr("open-sesame"), behind_proxy=True)


def test_the_file_in_the_current_directory_is_read_unasked() -> None:
    Path("aibridge.toml").write_text("workers = 2", "utf-8")
    assert load(None).workers == 2


def test_the_environment_beats_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIBRIDGE_LISTEN", "127.0.0.1:10001")
    monkeypatch.setenv("AIBRIDGE_IDENTITY__DEFAULT_ACTOR", "42")
    monkeypatch.setenv("AIBRIDGE_TELEMETRY__METRICS", "")
    monkeypatch.setenv("AIBRIDGE_PROVIDERS", f'[{{"name": "other", "api_key": "{KEY}"}}]')
    settings = written('listen = "127.0.0.1:1"\n[identity]\nheader = "x-user"\n[[providers]]\nname = "openai"')
    assert settings.listen == "127.0.0.1:10001"
    assert settings.identity == Identity(header="x-user", default_actor="42")
    assert settings.telemetry.metrics == ""
    assert [(provider.name, provider.api_key) for provider in settings.providers] == [("other", SecretStr(KEY))]


def test_openai_api_key_is_the_default_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    assert load(None).providers[0].api_key == SecretStr(KEY)
    assert written('[[providers]]\nname = "openai"').providers[0].api_key is None


@pytest.mark.parametrize("key", ["", "  "])
def test_an_empty_key_is_none(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert load(None).providers[0].api_key is None


def test_a_key_file_is_read_at_load() -> None:
    Path("key").write_text(f"{KEY}\n", "utf-8")
    provider = written('[[providers]]\napi_key_file = "key"').providers[0]
    assert provider.api_key == SecretStr(KEY)


def test_the_systems_certificates_are_found_unless_named(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ca.pem").touch()
    assert written('[[providers]]\nca_file = "ca.pem"').providers[0].ca_file == nowhere / "ca.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(nowhere / "ca.pem"))
    assert load(None).providers[0].ca_file == nowhere / "ca.pem"
    assert written('[[providers]]\nbase_url = "http://127.0.0.1/v1"').providers[0].ca_file is None
    others = written('recorder.url = "grpcs://records.example:443"\ntelemetry.otlp_endpoint = "https://c.example"')
    assert others.recorder.ca_file == nowhere / "ca.pem"
    assert [way.ca_file for way in map(others.telemetry.otel.way, ("traces", "metrics"))] == [nowhere / "ca.pem"] * 2
    # There it would demand a certificate; a database's URL says by itself what is demanded.
    assert written('recorder.url = "postgresql://u@h/d"').recorder.ca_file is None


def test_whether_there_is_tls_does_not_hang_on_capitals() -> None:
    """RFC 3986, section 3.1: a scheme is the same in any case."""
    text = 'telemetry.otlp_endpoint = "HTTPS://C.example"\nidentity.source = "jwt"\n[[issuers]]\nissuer = "i"\n'
    settings = written(f'{text}audiences = ["a"]\njwks_url = "HTTPS://I.example/Keys"')
    assert settings.telemetry.otlp_endpoint == "https://C.example"
    assert settings.issuers[0].jwks_url == "https://I.example/Keys"
    assert settings.issuers[0].ca_file is not None


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://a.example", ("a.example", 80)),
        ("https://a.example/v1", ("a.example", 443)),
        ("https://[::1]:4317", ("::1", 4317)),
        ("http://127.0.0.1:443/v1", ("127.0.0.1", 443)),
    ],
)
def test_a_url_without_a_port_has_its_schemes(url: str, found: tuple[str, int]) -> None:
    assert server(url) == found


def test_what_kubernetes_says_of_a_service_is_not_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service named `aibridge` puts these into every pod of its namespace."""
    monkeypatch.setenv("AIBRIDGE_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("AIBRIDGE_PORT_80_TCP_ADDR", "10.0.0.1")
    monkeypatch.setenv("AIBRIDGE_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("AIBRIDGE_SIDECAR_SERVICE_PORT_HTTP", "80")
    assert load(None).workers == 1


def test_others_may_reach_it_when_the_header_is_trusted() -> None:
    assert written('listen = "0.0.0.0:80"\nidentity.trust_header = true').listen == "0.0.0.0:80"


def test_plain_http_may_be_allowed() -> None:
    provider = written('[[providers]]\nbase_url = "http://proxy.internal/v1"\nallow_http = true').providers[0]
    assert (provider.base_url, provider.host, provider.tls) == ("http://proxy.internal/v1", "proxy.internal", False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/v1", "http://[::1]/v1", "http://localhost/v1"])
def test_plain_http_to_loopback_is_nobodys_business(url: str) -> None:
    assert written(f'[[providers]]\nbase_url = "{url}"').providers[0].base_url == url


@pytest.mark.parametrize(
    ("address", "halves"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("localhost:65535", ("127.0.0.1", 65535)),
        ("[0:0::1]:1", ("::1", 1)),
    ],
)
def test_an_address_has_two_halves(address: str, halves: tuple[str, int]) -> None:
    assert host_and_port(address) == halves


@pytest.mark.parametrize(
    ("endpoint", "set_to", "environment", "protocol"),
    [
        ("http://h:4317", "", "", "grpc"),
        ("http://h", "", "", "grpc"),
        ("http://h/", "", "", "grpc"),
        ("http://h:4318", "", "", "http"),
        ("http://h/v1/traces", "", "", "http"),
        ("http://h:4318", "grpc", "", "grpc"),
        ("http://h:4317", "http", "grpc", "http"),
        ("http://h:4317", "", "http/protobuf", "http"),
        ("http://h:4318", "", "grpc", "grpc"),
        ("http://h:4318", "", "http/json", "http"),
    ],
)
def test_otlp_is_spoken_as_set_else_as_the_endpoint_looks(
    endpoint: str, set_to: str, environment: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", environment)
    set_line = f'otlp_protocol = "{set_to}"' if set_to else ""
    assert written(f'[telemetry]\notlp_endpoint = "{endpoint}"\n{set_line}').telemetry.protocol == protocol


@pytest.mark.parametrize("endpoint", ["http://h:4318", "http://h:4318/", "http://h:4318/v1/traces"])
def test_traces_go_where_the_specification_says(endpoint: str) -> None:
    assert Telemetry(otlp_endpoint=endpoint).url("traces") == "http://h:4318/v1/traces"


def test_secrets_are_in_no_text() -> None:
    settings = written(f'[[providers]]\napi_key = "{KEY}"\nextra_headers = {{ x-key = "{KEY}" }}')
    assert KEY not in f"{settings!r} {settings} {settings.providers!r} {settings.providers[0]}"


def test_settings_reach_another_process_with_their_secrets() -> None:
    """A worker gets them through a pipe."""
    settings = written(EVERYTHING)
    copy = pickle.loads(pickle.dumps(settings))  # noqa: S301 (of our own making)
    assert copy == settings
    assert copy.providers[0].api_key.get_secret_value() == KEY


def test_the_core_gets_what_it_decides_by() -> None:
    assert written(EVERYTHING).policy() == Policy(
        providers={
            "openai-eu": ProviderPolicy(
                name="openai-eu",
                type="openai",
                base_url="https://eu.api.openai.com:8443/v1",
                api_key=SecretStr(KEY),
                auth_header="x-key",
                byok=False,
                send_actor_headers=True,
                pass_cookies=True,
                extra_headers={"openai-organization": "org"},
            )
        },
        identity_header="x-user",
        default_actor="bob",
        bounds=Bounds(request_bytes=1, response_bytes=2, event_bytes=3, recorded_bytes=4, request_timeout=7.0),
    )


def test_each_worker_has_its_socket(nowhere: Path) -> None:
    assert load(None).socket(3) == nowhere / ".aibridge/run/worker-3.sock"


def test_what_others_need_of_the_environment_holds_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AIBRIDGE_PROVIDERS", "aibridge_providers", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, KEY)
    found = bare_environment()
    assert [name for name, value in found.items() if value == KEY] == ["SSL_CERT_FILE"]
    assert found["PATH"] == os.environ["PATH"]


def test_the_bare_defaults_know_neither_file_nor_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rendering is the same on every machine."""
    Path("aibridge.toml").write_text("workers = 2", "utf-8")
    monkeypatch.setenv("AIBRIDGE_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    settings = defaults()
    assert (settings.workers, settings.listen) == (1, "127.0.0.1:10000")
    assert (settings.providers[0].api_key, settings.providers[0].ca_file) == (None, None)
    assert settings.socket(0) == Path(".aibridge/run/worker-0.sock")


def test_a_database_s_password_is_kept_apart_from_its_url(nowhere: Path) -> None:
    """The URL is shown and logged; the journal lies beside the runtime directory unless it is told where."""
    file = nowhere / "some.toml"
    file.write_text('[recorder]\nurl = "postgresql://u:p%40ss@h:5432/d?sslmode=require"\n', "utf-8")
    settings = load(file)
    assert settings.recorder.url == "postgresql://u@h:5432/d?sslmode=require"
    assert settings.recorder.password == SecretStr("p@ss")
    assert "p@ss" not in repr(settings)
    assert settings.recorder.kind == "postgresql"
    assert settings.database == nowhere / ".aibridge/journal.db"
    assert (settings.is_forwarded, settings.needs_keeper) == (True, True)
    bare = settings.without_store_credentials().recorder
    assert (bare.password, bare.url) == (None, "postgresql://u@h:5432/d")


def test_a_password_may_come_by_itself(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the file with the URL need not be secret."""
    monkeypatch.setenv("AIBRIDGE_RECORDER__URL", "postgresql://u@h/d")
    monkeypatch.setenv("AIBRIDGE_RECORDER__PASSWORD", "pass")
    monkeypatch.setenv("AIBRIDGE_RECORDER__JOURNAL", "there.db")
    settings = load(None)
    assert settings.recorder.password == SecretStr("pass")
    assert settings.database == nowhere / "there.db"


def test_a_keeper_knows_no_provider_s_key() -> None:
    settings = Settings(providers=(Provider(api_key=SecretStr("sk-1"), extra_headers={"x-key": "sk-2"}),))
    settings = settings.model_copy(update={"console": Console(token=SecretStr("t" * 32))})
    assert settings.without_provider_keys() == Settings()
    assert not settings.needs_keeper


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("sqlite:///a.db", "sqlite"),
        ("postgresql:///d?host=/run/postgresql", "postgresql"),
        ("grpc://localhost:9470", "service"),
        ("grpcs://records.example:443", "service"),
    ],
)
def test_a_store_is_known_by_its_scheme(url: str, kind: str) -> None:
    assert Recorder(url=url).kind == kind
