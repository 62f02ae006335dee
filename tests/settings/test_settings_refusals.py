from pathlib import Path

import pytest

from sidecar.core.errors import BadSetting
from sidecar.settings import load

KEY = "sk-secret-0123456789"
TOP = (
    "listen, admin, runtime_dir, workers, grpc_server, verdict, envoy, identity, issuers, tls, credentials, policies, "
    "providers, recorder, telemetry, limits, service, dump, console"
)
PROVIDER = (
    "name, type, base_url, ca_file, api_key, api_key_file, auth_header, byok, send_actor_headers, pass_cookies, "
    "allow_http, extra_headers, max_retries, retry_on"
)
ADDRESS = "allowed: host:port, the host an IP address (IPv6 in brackets) or localhost, the port 1 to 65535"
ANOTHER = "allowed: another address than listen's and admin's"
LOOPBACK = "allowed: host:port on loopback, e.g. 127.0.0.1:9901"
URL = "allowed: http://host/path or https://host/path, without user, query, fragment or escapes"
HEADER = "allowed: a header name: letters, digits and !#$%&'*+-.^_`|~"
FRAMING = "allowed: a header that neither frames the message nor names its host"
NO_CREDENTIAL = "allowed: a header that holds a name, not a credential: names are recorded"
VALUE = "allowed: a header value of printable ASCII characters"
NAME = "allowed: lower-case letters and digits, single dashes inside, e.g. openai-eu"
KEYS = "allowed: a key of visible ASCII characters, with neither blanks nor line ends around it"
STORE = "allowed: sqlite:///PATH, e.g. sqlite:///aibridge.db or sqlite:////var/lib/aibridge/records.db"
ANY_STORE = "allowed: sqlite:///PATH, postgresql://USER@HOST/DATABASE, grpc://HOST:PORT or grpcs://HOST:PORT"
DATABASE = (
    "allowed: postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=\u2026, the password there or in recorder.password"
)
SERVICE = "allowed: grpc://HOST:PORT or grpcs://HOST:PORT"
PLAIN_SERVICE = "allowed: grpcs://HOST:PORT, or grpc:// to loopback: records hold prompts"
PLAIN_LISTEN = "allowed: an address on loopback; others need cert_file and key_file"
RECORDER = (
    "url, password, journal, max_journal_bytes, when_full, on_worker_loss, retention_days, content, mask, ca_file, "
    "cert_file, key_file"
)
OTLP = 'allowed: "" (off), http://host:port or https://host:port, without user, query or fragment'
VERDICT = "allowed: 1 to 128 letters, digits, dots, dashes and underscores"
PLAIN_HTTP = "allowed: https, or http to loopback; allow_http = true sends keys over plain HTTP all the same"
IDENTITY = "source, header, default_actor, trust_header, trusted_cidrs, token_header, claim, metadata_claims, keys_file"
ISSUERS = "issuer, audiences, jwks_file, jwks_url, ca_file"
POLICY = "action, actors, providers, models"
SOURCES = "allowed: 'header', 'jwt', 'mtls' or 'api_key'"
MTLS = "allowed: mtls only together with tls.cert_file, tls.key_file and tls.client_ca_file"
API_KEY = "allowed: api_key only together with identity.keys_file"
NEEDED = "identity.trusted_cidrs, another identity.source, or identity.trust_header = true"
OPEN_LISTEN = f"allowed: an address on loopback; others need {NEEDED}"
BOTH = "allowed: both cert_file and key_file, or neither"
WITH_CERTIFICATE = "allowed: only with cert_file and key_file"
CLAIM = "allowed: text without control characters, and not empty"
GLOB = "allowed: a glob like gpt-5* without control characters, and not empty"
CIDR = "allowed: a range of IP addresses, e.g. 10.0.0.0/8, without bits beyond the prefix"
ONLY_WITH = "allowed: only with identity.source ="
KEY_SET = 'allowed: a file with a JSON Web Key Set: {"keys": [...]}'
ISSUER = """
[[issuers]]
issuer = "https://i.example"
audiences = ["us"]
jwks_url = "https://i.example/keys"
"""
JWT = f'identity.source = "jwt"\n{ISSUER}'
BOOLEAN = "allowed: a valid boolean, unable to interpret input"
RETRY = 'allowed: "5xx" or a status from 400 to 599'
FILE = "allowed: the path of a file that exists"
TEXT = "allowed: text without control characters"
PATTERN = "allowed: a regular expression of RE2 (github.com/google/re2/wiki/Syntax)"
SOME_PATTERN = "allowed: a regular expression that does not match the empty text"
OPEN_CONSOLE = "allowed: an address on loopback; others need console.token, or console.behind_proxy = true"
GIBIBYTE = "allowed: less than or equal to 1073741824"
ONCE = "allowed: each header once"
JSON = "is not JSON; allowed: lists and sections as JSON"


def refusal(text: str) -> str:
    file = Path("some.toml")
    file.write_text(text, "utf-8")
    with pytest.raises(BadSetting) as raised:
        load(file)
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("AIBRIDGE_WORKERS", "", 'workers = "": allowed: a valid integer, unable to parse string as an integer'),
        (
            "AIBRIDGE_PROVIDERS",
            f'["{KEY}"',
            f"AIBRIDGE_PROVIDERS = ***: {JSON}",
        ),
        ("AIBRIDGE_IDENTITY__TRUSTED_CIDRS", "10.0.0.0/8", f"AIBRIDGE_IDENTITY__TRUSTED_CIDRS = ***: {JSON}"),
        ("AIBRIDGE_PROVIDERS__0__NAME", KEY, "providers = ***: allowed: a list"),
        (
            "AIBRIDGE_RECORDER__URI",
            KEY,
            f"recorder.uri = ***: no such setting; allowed: {RECORDER}",
        ),
        (
            "AIBRIDGE_RECORDER_URL",
            KEY,
            "AIBRIDGE_RECORDER_URL = ***: no such setting; allowed: "
            + ", ".join(f"AIBRIDGE_{name.upper()}" for name in TOP.split(", ")),
        ),
        ("OPENAI_API_KEY", "sk-\N{EURO SIGN}", f"providers[0].api_key = ***: {KEYS}"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting) as raised:
        load(None)
    assert str(raised.value) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("port = 1", f"port = ***: no such setting; allowed: {TOP}"),
        ("_env_file = 1", f"_env_file = ***: no such setting; allowed: {TOP}"),
        ("identity = 3", "identity = 3: allowed: a table"),
        ('identity.name = "x"', f"identity.name = ***: no such setting; allowed: {IDENTITY}"),
        ('listen = "10000"', f'listen = "10000": {ADDRESS}'),
        ('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:0": {ADDRESS}'),
        ('listen = "127.0.0.1:65536"', f'listen = "127.0.0.1:65536": {ADDRESS}'),
        ('listen = "::1:80"', f'listen = "::1:80": {ADDRESS}'),
        ('listen = "[fe80::1%eth0]:80"', f'listen = "[fe80::1%eth0]:80": {ADDRESS}'),
        ('listen = "example.com:80"', f'listen = "example.com:80": {ADDRESS}'),
        (
            'listen = "0.0.0.0:80"',
            f'listen = "0.0.0.0:80": {OPEN_LISTEN}',
        ),
        ('admin = "0.0.0.0:80"', f'admin = "0.0.0.0:80": {LOOPBACK}'),
        ('admin = "localhost:10000"', 'admin = "localhost:10000": allowed: another address than listen\'s'),
        ('telemetry.metrics = "0.0.0.0:80"', f'telemetry.metrics = "0.0.0.0:80": {LOOPBACK}'),
        ('telemetry.metrics = "localhost:10000"', f'telemetry.metrics = "localhost:10000": {ANOTHER}'),
        ('telemetry.metrics = "127.0.0.1:9901"', f'telemetry.metrics = "127.0.0.1:9901": {ANOTHER}'),
        ('recorder.content = "some"', "recorder.content = \"some\": allowed: 'full', 'usage' or 'none'"),
        (f'recorder.mask = ["({KEY}"]', f"recorder.mask[0] = ***: {PATTERN}"),
        (f'recorder.mask = ["(?={KEY})"]', f"recorder.mask[0] = ***: {PATTERN}"),
        (f'recorder.mask = ["({KEY})*"]', f"recorder.mask[0] = ***: {SOME_PATTERN}"),
        (f'recorder.mask = "{KEY}"', "recorder.mask = ***: allowed: a list"),
        ('telemetry.profile = "x"', "telemetry.profile = \"x\": allowed: 'genai', 'genai-next' or 'openinference'"),
        ("telemetry.max_label_values = 0", "telemetry.max_label_values = 0: allowed: greater than or equal to 1"),
        ('dump.masked_headers = ["a b"]', f'dump.masked_headers[0] = "a b": {HEADER}'),
        ("dump.max_file_bytes = 1", "dump.max_file_bytes = 1: allowed: greater than or equal to 4096"),
        ('console.listen = "0.0.0.0:80"', f'console.listen = "0.0.0.0:80": {OPEN_CONSOLE}'),
        (f'console.token = "{KEY}\\n"', f"console.token = ***: {KEYS}"),
        ("workers = 0", "workers = 0: allowed: greater than or equal to 1"),
        ("workers = 65", "workers = 65: allowed: less than or equal to 64"),
        ("workers = 1.5", "workers = 1.5: allowed: a valid integer, got a number with a fractional part"),
        ('verdict = ""', f'verdict = "": {VERDICT}'),
        ('verdict = "a b"', f'verdict = "a b": {VERDICT}'),
        ('envoy = "nowhere"', f'envoy = "nowhere": {FILE}'),
        ('runtime_dir = "a\\u0000b"', 'runtime_dir = "a\\u0000b": allowed: a path without control characters'),
        (
            f'runtime_dir = "/{"x" * 93}"\nworkers = 11',
            f'runtime_dir = "/{"x" * 93}": allowed: a path that leaves worker-10.sock in it with 107 bytes at most',
        ),
        ('identity.source = "cookie"', f'identity.source = "cookie": {SOURCES}'),
        ('identity.source = "jwt"', 'identity.source = "jwt": allowed: jwt only together with [[issuers]]'),
        ('identity.source = "mtls"', f'identity.source = "mtls": {MTLS}'),
        ('identity.source = "api_key"', f'identity.source = "api_key": {API_KEY}'),
        ('identity.claim = " "', f'identity.claim = " ": {CLAIM}'),
        ('identity.token_header = "host"', f'identity.token_header = "host": {FRAMING}'),
        ('identity.keys_file = "nowhere"', f'identity.keys_file = "nowhere": {FILE}'),
        ('identity.keys_file = "some.toml"', f'identity.keys_file = "{{here}}/some.toml": {ONLY_WITH} "api_key"'),
        ('identity.trusted_cidrs = ["10.0.0.1/8"]', f'identity.trusted_cidrs[0] = "10.0.0.1/8": {CIDR}'),
        (f'identity.default_actor = "me"\n{JWT}', f'identity.default_actor = "me": {ONLY_WITH} "header"'),
        (
            f'identity.trusted_cidrs = ["::/0", "10.0.0.0/8"]\n{JWT}',
            f'identity.trusted_cidrs = "::/0, 10.0.0.0/8": {ONLY_WITH} "header"',
        ),
        (ISSUER, f'issuers = ***: {ONLY_WITH} "jwt"'),
        (f"{JWT}{ISSUER}", "issuers = ***: allowed: each issuer once"),
        (f"{ISSUER}name = 1", f"issuers[0].name = ***: no such setting; allowed: {ISSUERS}"),
        (ISSUER.replace('"https://i.example"', '""'), f'issuers[0].issuer = "": {CLAIM}'),
        (ISSUER.replace('["us"]', "[]"), "issuers[0].audiences = ***: allowed: a list of at least one"),
        (
            ISSUER.replace('"https://i.example/keys"', '""'),
            'issuers[0].jwks_url = "": allowed: a jwks_url, or jwks_file: tokens are checked by keys',
        ),
        (
            ISSUER.replace("https://i.example/keys", "http://i.example/keys"),
            'issuers[0].jwks_url = "http://i.example/keys": allowed: https://host/path, or http to loopback',
        ),
        (
            ISSUER.replace("https://i.example/keys", "https://u@i.example/keys"),
            'issuers[0].jwks_url = "https://***@i.example/keys": allowed: https://host/path, without user or fragment',
        ),
        (f'{ISSUER}jwks_file = "some.toml"', f'issuers[0].jwks_file = "some.toml": {KEY_SET}'),
        ('tls.cert_file = "some.toml"', f'tls.cert_file = "{{here}}/some.toml": {BOTH}'),
        ('tls.client_ca_file = "some.toml"', f'tls.client_ca_file = "{{here}}/some.toml": {WITH_CERTIFICATE}'),
        ('policies = [{action = "maybe"}]', "policies[0].action = \"maybe\": allowed: 'allow' or 'deny'"),
        ("policies = [{models = []}]", "policies[0].models = ***: allowed: a list of at least one"),
        ('policies = [{actors = [""]}]', f'policies[0].actors[0] = "": {GLOB}'),
        ("policies = [{users = []}]", f"policies[0].users = ***: no such setting; allowed: {POLICY}"),
        ('identity.header = ":path"', f'identity.header = ":path": {HEADER}'),
        ('identity.header = "Host"', f'identity.header = "Host": {FRAMING}'),
        ('identity.header = "Authorization"', f'identity.header = "Authorization": {NO_CREDENTIAL}'),
        ('identity.header = "proxy-authorization"', f'identity.header = "proxy-authorization": {NO_CREDENTIAL}'),
        ('identity.header = "cookie"', f'identity.header = "cookie": {NO_CREDENTIAL}'),
        ('identity.header = "X_Api_Key"', f'identity.header = "X_Api_Key": {NO_CREDENTIAL}'),
        ('identity.header = "api-key"', f'identity.header = "api-key": {NO_CREDENTIAL}'),
        ('identity.default_actor = "a\\nb"', f'identity.default_actor = "a\\nb": {TEXT}'),
        ('identity.trust_header = "maybe"', f'identity.trust_header = "maybe": {BOOLEAN}'),
        ("providers = []", 'providers = "": allowed: at least one, and each name once'),
        (f'providers = "{KEY}"', "providers = ***: allowed: a list"),
        ("[[providers]]\n[[providers]]", 'providers = "openai, openai": allowed: at least one, and each name once'),
        ('[[providers]]\nname = "Open_AI"', f'providers[0].name = "Open_AI": {NAME}'),
        ('[[providers]]\nname = "a--b"', f'providers[0].name = "a--b": {NAME}'),
        ('[[providers]]\ntype = "anthropic"', "providers[0].type = \"anthropic\": allowed: 'openai'"),
        (f'[[providers]]\napi_kee = "{KEY}"', f"providers[0].api_kee = ***: no such setting; allowed: {PROVIDER}"),
        ('[[providers]]\nbase_url = "api.openai.com/v1"', f'providers[0].base_url = "api.openai.com/v1": {URL}'),
        (f'[[providers]]\nbase_url = "u:{KEY}@h/v1"', f'providers[0].base_url = "***@h/v1": {URL}'),
        (f'recorder.url = "host=h user=u password={KEY}"', f"recorder.url = ***: {ANY_STORE}"),
        (f'recorder.url = "aibridge:{KEY}@db/aibridge"', f'recorder.url = "***@db/aibridge": {ANY_STORE}'),
        (f'recorder.url = "postgresql://h/d?pass%77ord={KEY}"', f'recorder.url = "postgresql://h/d?***": {DATABASE}'),
        ('[[providers]]\nbase_url = "ftp://h/v1"', f'providers[0].base_url = "ftp://h/v1": {URL}'),
        ('[[providers]]\nbase_url = "https://"', f'providers[0].base_url = "https://": {URL}'),
        ('[[providers]]\nbase_url = "https://h:0/"', f'providers[0].base_url = "https://h:0/": {URL}'),
        ('[[providers]]\nbase_url = "https://h:x/"', f'providers[0].base_url = "https://h:x/": {URL}'),
        ('[[providers]]\nbase_url = "https://h/a%2fb"', f'providers[0].base_url = "https://h/a%2fb": {URL}'),
        ('[[providers]]\nbase_url = "https://h/a/../b"', f'providers[0].base_url = "https://h/a/../b": {URL}'),
        ('[[providers]]\nbase_url = "https://h/a//b"', f'providers[0].base_url = "https://h/a//b": {URL}'),
        ('[[providers]]\nbase_url = "https://h\\n/v1"', f'providers[0].base_url = "https://h\\n/v1": {URL}'),
        (f'[[providers]]\nbase_url = "https://u:{KEY}@h/v1"', f'providers[0].base_url = "https://***@h/v1": {URL}'),
        (f'[[providers]]\nbase_url = "https://h/v1?k={KEY}"', f'providers[0].base_url = "https://h/v1?***": {URL}'),
        (f'[[providers]]\nbase_url = "https://h/v1#{KEY}"', f'providers[0].base_url = "https://h/v1?***": {URL}'),
        ('[[providers]]\nbase_url = "http://h/v1"', f'providers[0].base_url = "http://h/v1": {PLAIN_HTTP}'),
        ('[[providers]]\nca_file = "nowhere"', f'providers[0].ca_file = "nowhere": {FILE}'),
        (f'[[providers]]\napi_key = " {KEY}"', f"providers[0].api_key = ***: {KEYS}"),
        (f'[[providers]]\napi_key = "{KEY}\\n"', f"providers[0].api_key = ***: {KEYS}"),
        (f'[[providers]]\napi_key = "{KEY}\u00e9"', f"providers[0].api_key = ***: {KEYS}"),
        ("[[providers]]\napi_key = 123456789", "providers[0].api_key = ***: allowed: a string"),
        ('[[providers]]\napi_key_file = "nowhere"', f'providers[0].api_key_file = "nowhere": {FILE}'),
        ('[[providers]]\nauth_header = "x y"', f'providers[0].auth_header = "x y": {HEADER}'),
        ('[[providers]]\nauth_header = "content-length"', f'providers[0].auth_header = "content-length": {FRAMING}'),
        (f'[[providers]]\nextra_headers = "{KEY}"', "providers[0].extra_headers = ***: allowed: a table"),
        (f'[[providers]]\nextra_headers."a\\nb" = "{KEY}"', f'providers[0].extra_headers."a\\nb" = ***: {HEADER}'),
        (f'[[providers]]\nextra_headers.x = "{KEY}\\r"', f"providers[0].extra_headers.x = ***: {VALUE}"),
        ('[[providers]]\nextra_headers = { a = "", A = "" }', f"providers[0].extra_headers = ***: {ONCE}"),
        ("[[providers]]\nmax_retries = -1", "providers[0].max_retries = -1: allowed: greater than or equal to 0"),
        ('[[providers]]\nretry_on = "429"', "providers[0].retry_on = ***: allowed: a list"),
        ('[[providers]]\nretry_on = ["429", "6xx"]', f'providers[0].retry_on[1] = "6xx": {RETRY}'),
        ("[[providers]]\nretry_on = [200]", f"providers[0].retry_on[0] = 200: {RETRY}"),
        (f'recorder.url = "postgresql://u:{KEY}@h"', f'recorder.url = "postgresql://***@h": {DATABASE}'),
        (f'recorder.url = "postgresql://u:x/{KEY}@h/d"', f'recorder.url = "postgresql://***@h/d": {DATABASE}'),
        (f'recorder.url = "postgresql://u:x@{KEY}@h/d"', f'recorder.url = "postgresql://***@h/d": {DATABASE}'),
        (f'recorder.url = "postgresql://h/d?password={KEY}"', f'recorder.url = "postgresql://h/d?***": {DATABASE}'),
        (f'recorder.url = "postgresql://h/d#{KEY}"', f'recorder.url = "postgresql://h/d?***": {DATABASE}'),
        (f'recorder.url = "postgresql://{KEY}@h:x/d"', f'recorder.url = "postgresql://***@h:x/d": {DATABASE}'),
        ("recorder.password = 1", "recorder.password = ***: allowed: a string"),
        ('recorder.url = "grpcs://h"', f'recorder.url = "grpcs://h": {SERVICE}'),
        ('recorder.url = "grpcs://h:1/x"', f'recorder.url = "grpcs://h:1/x": {SERVICE}'),
        ('recorder.url = "grpc://10.0.0.1:1"', f'recorder.url = "grpc://10.0.0.1:1": {PLAIN_SERVICE}'),
        ('recorder.cert_file = "pyproject"', f'recorder.cert_file = "pyproject": {FILE}'),
        ("recorder.max_journal_bytes = 1", "recorder.max_journal_bytes = 1: allowed: greater than or equal to 1048576"),
        ('recorder.when_full = "wait"', "recorder.when_full = \"wait\": allowed: 'refuse' or 'drop_oldest'"),
        ('recorder.on_worker_loss = "x"', "recorder.on_worker_loss = \"x\": allowed: 'deliver' or 'cut'"),
        ("recorder.retention_days = -1", "recorder.retention_days = -1: allowed: greater than or equal to 0"),
        ('service.listen = "0.0.0.0:9470"', f'service.listen = "0.0.0.0:9470": {PLAIN_LISTEN}'),
        ('recorder.url = "mysql:///x"', f'recorder.url = "mysql:///x": {ANY_STORE}'),
        ('recorder.url = "sqlite://x"', f'recorder.url = "sqlite://x": {STORE}'),
        ('recorder.url = "sqlite:///"', f'recorder.url = "sqlite:///": {STORE}'),
        ('recorder.url = "sqlite:///:memory:"', f'recorder.url = "sqlite:///:memory:": {STORE}'),
        ('telemetry.otlp_endpoint = "localhost:4317"', f'telemetry.otlp_endpoint = "localhost:4317": {OTLP}'),
        (f'telemetry.otlp_endpoint = "http://{KEY}@h"', f'telemetry.otlp_endpoint = "http://***@h": {OTLP}'),
        ('telemetry.otlp_protocol = "json"', "telemetry.otlp_protocol = \"json\": allowed: '', 'grpc' or 'http'"),
        ("limits.max_event_bytes = 0", "limits.max_event_bytes = 0: allowed: greater than 0"),
        ("limits.max_request_bytes = 2000000000", f"limits.max_request_bytes = 2000000000: {GIBIBYTE}"),
        ("limits.idle_timeout = nan", "limits.idle_timeout = NaN: allowed: a finite number"),
        (
            "limits.start_commit_timeout = 4.5",
            "limits.start_commit_timeout = 4.5: allowed: less than or equal to 4",
        ),
        ("limits.start_commit_timeout = 0", "limits.start_commit_timeout = 0: allowed: greater than 0"),
        ("limits.end_commit_timeout = 5", "limits.end_commit_timeout = 5: allowed: less than or equal to 4"),
        ("limits.request_timeout = -1", "limits.request_timeout = -1: allowed: greater than 0"),
        (f"verdict = \"{'x' * 300}\"", f'verdict = "{"x" * 200}\\u2026": {VERDICT}'),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line(text: str, line: str) -> None:
    """Its key, its value unless that is or may be a secret, and what is allowed. `{here}`: the current directory."""
    assert refusal(text) == line.replace("{here}", str(Path.cwd()))


def test_each_of_several_wrong_settings_has_its_line() -> None:
    assert refusal('workers = 0\nverdict = ""').splitlines() == [
        "workers = 0: allowed: greater than or equal to 1",
        f'verdict = "": {VERDICT}',
    ]


def test_a_key_and_a_key_file_contradict_each_other(nowhere: Path) -> None:
    Path("key").write_text(KEY, "utf-8")
    text = f'[[providers]]\napi_key = "{KEY}"\napi_key_file = "key"'
    assert refusal(text) == f'providers[0].api_key_file = "{nowhere}/key": allowed: either api_key or api_key_file'


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", f"what it holds is no key; {KEYS}"),
        (b"two\nlines", f"what it holds is no key; {KEYS}"),
        (b"\xff", "is not text; allowed: a file that holds a key"),
    ],
)
def test_what_a_key_file_holds_must_be_a_key(content: bytes, fault: str, nowhere: Path) -> None:
    Path("key").write_bytes(content)
    assert refusal('[[providers]]\napi_key_file = "key"') == f'providers[0].api_key_file = "{nowhere}/key": {fault}'


def test_a_config_that_is_not_there_is_said_so() -> None:
    with pytest.raises(BadSetting) as raised:
        load(Path("nowhere.toml"))
    assert str(raised.value) == '--config = "nowhere.toml": cannot be read (No such file or directory)'


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (f"{KEY}".encode(), "is not TOML (at end of document)"),
        (f'a = 1\na = "{KEY}"'.encode(), "is not TOML (at end of document)"),
        (b"\xff", "is not UTF-8; allowed: a TOML file"),
    ],
)
def test_a_config_that_is_not_toml_is_not_quoted(content: bytes, fault: str) -> None:
    Path("some.toml").write_bytes(content)
    with pytest.raises(BadSetting) as raised:
        load(Path("some.toml"))
    assert str(raised.value) == f'--config = "some.toml": {fault}'
