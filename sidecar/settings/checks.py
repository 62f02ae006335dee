"""What single settings may be. A check returns the value to use, or refuses and says what is allowed."""

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from sidecar.core import masks

REFUSED: Final = "refused"
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2, in lower case
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")
_VERDICT = re.compile(r"[A-Za-z0-9._-]{1,128}")
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MAX_PORT = 65_535
# What frames a message or names its host is Envoy's own: a request in which the sidecar set it would be refused.
_FRAMING = re.compile(
    "connection|content-length|expect|host|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade"
)
# What a client proves itself by; an actor's name is recorded in clear.
_CREDENTIALS = re.compile("authorization|proxy-authorization|cookie|x-api-key|api-key")


def refuse(allowed: str, key: str = "", value: object = None) -> NoReturn:
    """Say what would have been `allowed`; of which `key` and `value`, where they are not the checked ones."""
    raise PydanticCustomError(REFUSED, "{allowed}", {"allowed": allowed, "key": key, "value": value})


def host_and_port(address: str) -> tuple[str, int]:
    """The halves of `127.0.0.1:80`, `[::1]:80` or `localhost:80` (read as 127.0.0.1); ValueError for anything else."""
    host, _, port = address.rpartition(":")
    if not _PORT.fullmatch(port) or int(port) > _MAX_PORT or "%" in host:
        raise ValueError(address)
    if host == "localhost":
        return "127.0.0.1", int(port)
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    return str(ipaddress.IPv4Address(host)), int(port)


def server(url: str) -> tuple[str, int]:
    """The host and the TCP port that an `http` or `https` URL leads to; the scheme's where it names no port."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def is_ip(host: str) -> bool:
    """Whether `host` is an IP address (IPv6 without brackets) rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an IP address without brackets, never leaves this machine."""
    return host == "localhost" or (is_ip(host) and ipaddress.ip_address(host).is_loopback)


def key_text(text: str) -> str:
    """A credential that can stand in a header: visible ASCII, blanks only inside."""
    if not _KEY.fullmatch(text):
        refuse("a key of visible ASCII characters, with neither blanks nor line ends around it")
    return text


def key(value: SecretStr | None) -> SecretStr | None:
    """Like `key_text`; None and an empty one are no key."""
    if not value:
        return None
    key_text(value.get_secret_value())
    return value


def address(text: str) -> str:
    """What `host_and_port` can read."""
    try:
        host_and_port(text)
    except ValueError:
        refuse("host:port, the host an IP address (IPv6 in brackets) or localhost, the port 1 to 65535")
    return text


def loopback(text: str) -> str:
    """An address that others cannot reach."""
    if not is_loopback(host_and_port(address(text))[0]):
        refuse("host:port on loopback, e.g. 127.0.0.1:9901")
    return text


def loopback_or_off(text: str) -> str:
    """Like `loopback`; empty is off."""
    return loopback(text) if text else text


def header_name(name: str) -> str:
    """A header's name, in lower case."""
    name = name.lower()
    if not _TOKEN.fullmatch(name):
        refuse("a header name: letters, digits and !#$%&'*+-.^_`|~")
    return name


def header(name: str) -> str:
    """The name, in lower case, of a header that may be set."""
    name = header_name(name)
    if _FRAMING.fullmatch(name):
        refuse("a header that neither frames the message nor names its host")
    return name


def identity_header(name: str) -> str:
    """The name of a header whose value may be recorded."""
    name = header(name)
    if _CREDENTIALS.fullmatch(name.replace("_", "-")):
        refuse("a header that holds a name, not a credential: names are recorded")
    return name


def header_value(value: str) -> str:
    """A header's value."""
    if not _PRINTABLE.fullmatch(value):
        refuse("a header value of printable ASCII characters")
    return value


def headers_once(headers: object) -> object:
    """Headers of which no two are the same but for the case of letters."""
    if isinstance(headers, dict) and len({str(name).lower() for name in headers}) < len(headers):
        refuse("each header once")
    return headers


def plain(text: str) -> str:
    """Text of one line."""
    if _CONTROL.search(text):
        refuse("text without control characters")
    return text


def cidr(text: str) -> str:
    """A range of addresses, without host bits."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        refuse("a range of IP addresses, e.g. 10.0.0.0/8, without bits beyond the prefix")


def claim(text: str) -> str:
    """What can stand in a token."""
    if not text.strip() or _CONTROL.search(text):
        refuse("text without control characters, and not empty")
    return text


def glob(text: str) -> str:
    """What can match something."""
    if not text or _CONTROL.search(text):
        refuse("a glob like gpt-5* without control characters, and not empty")
    return text


def some(values: tuple[str, ...]) -> tuple[str, ...]:
    """At least one."""
    if not values:
        refuse("a list of at least one")
    return values


def jwks(value: Path | None) -> Path | None:
    """A file with a JSON Web Key Set (RFC 7517, section 5)."""
    if value is None:
        return None
    try:
        keys = json.loads(value.read_text("utf-8"))["keys"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        keys = None
    if not isinstance(keys, list) or not keys:
        refuse('a file with a JSON Web Key Set: {"keys": [...]}')
    return value


def jwks_url(text: str) -> str:
    """Where a JSON Web Key Set is; empty: nowhere. Who can change it on the way can be anybody."""
    url = _url(text.partition("?")[0])
    if text and (url is None or not _KEY.fullmatch(text) or set(text) & set(" #@\\")):
        refuse("https://host/path, without user or fragment")
    if url and url.scheme == "http" and not is_loopback(url.hostname or ""):
        refuse("https://host/path, or http to loopback")
    return _plainly(text)


def provider_name(name: str) -> str:
    """What can be the first segment of a path."""
    if not _NAME.fullmatch(name):
        refuse("lower-case letters and digits, single dashes inside, e.g. openai-eu")
    return name


def verdict(text: str) -> str:
    """A value that dynamic metadata carries and YAML leaves alone."""
    if not _VERDICT.fullmatch(text):
        refuse("1 to 128 letters, digits, dots, dashes and underscores")
    return text


def base_url(text: str) -> str:
    """A provider's base URL without trailing slashes; scheme and host in lower case."""
    url = _url(text)
    path = url.path.rstrip("/") if url else ""
    segments = path.split("/")[1:]
    if not url or not all(_SEGMENT.fullmatch(segment) and segment not in {".", ".."} for segment in segments):
        refuse("http://host/path or https://host/path, without user, query, fragment or escapes")
    return f"{url.scheme}://{url.netloc.lower()}{path}"


def endpoint_or_off(text: str) -> str:
    """An OTLP endpoint; empty is off."""
    if text and not _url(text):
        refuse('"" (off), http://host:port or https://host:port, without user, query or fragment')
    return _plainly(text)


def retry_status(entry: object) -> str:
    """A status that is worth another try."""
    text = str(entry)
    if not re.fullmatch(r"5xx|[45][0-9]{2}", text):
        refuse('"5xx" or a status from 400 to 599')
    return text


def pattern(text: str) -> str:
    """A regular expression of RE2, whose time is linear in what it searches; not one that every text has."""
    try:
        found = masks.pattern(text)
    except ValueError:
        refuse("a regular expression of RE2 (github.com/google/re2/wiki/Syntax)")
    if found.search(""):
        refuse("a regular expression that does not match the empty text")
    return text


def nothing(value: object) -> object:
    """None for an empty string: the settings' way to say that there is none."""
    return None if value == "" else value


def path(value: Path | None) -> Path | None:
    """An absolute path; relative ones are relative to the current directory."""
    if value is None:
        return None
    if _CONTROL.search(str(value)):
        refuse("a path without control characters")
    return Path(os.path.abspath(value))  # noqa: PTH100 (`resolve` would follow links, `absolute` would keep `..`)


def file(value: Path | None) -> Path | None:
    """An absolute path where a file is."""
    value = path(value)
    if value is not None and not os.path.isfile(value):  # noqa: PTH113 (`is_file` raises where it cannot look)
        refuse("the path of a file that exists")
    return value


def pair(cert: Path | None, key: Path | None, clients: Path | None = None) -> None:
    """A certificate and its key come together, and `clients`, what clients' certificates are judged by, with them."""
    if (cert is None) != (key is None):
        refuse("both cert_file and key_file, or neither", "cert_file", str(cert or ""))
    if clients and not cert:
        refuse("only with cert_file and key_file", "client_ca_file", str(clients))


def store(url: str) -> str:
    """Where records go: a file's path absolute, a database or a service by its host."""
    scheme, _, rest = url.partition("://")
    match scheme:
        case "sqlite":
            return _file_store(rest)
        case "postgresql":
            return _database_store(url)
        case "grpc" | "grpcs":
            return _service_store(url)
    refuse("sqlite:///PATH, postgresql://USER@HOST/DATABASE, grpc://HOST:PORT or grpcs://HOST:PORT")


def password_apart(url: str) -> tuple[str, str | None]:
    """The URL of a database without its password, and that; None when it has none."""
    found = re.fullmatch(r"(postgresql://[^/?#@:]*):([^/?#@]*)(@.*)", url, re.DOTALL)
    return (found[1] + found[3], unquote(found[2])) if found else (url, None)


def _file_store(rest: str) -> str:
    name = rest.removeprefix("/")
    unsound = not name or name.endswith("/") or name == ":memory:" or re.search(r"[?#\x00-\x1f\x7f]", name)
    if not rest.startswith("/") or unsound:
        refuse("sqlite:///PATH, e.g. sqlite:///aibridge.db or sqlite:////var/lib/aibridge/records.db")
    return f"sqlite:///{path(Path(name))}"


def _database_store(url: str) -> str:
    """What PostgreSQL's own library reads (manual, section 32.1.1.2): user, host, port, database, parameters."""
    try:
        parts = urlsplit(url)
        named = parts.path.strip("/") and parts.port != 0 and parts.netloc.count("@") < 2  # noqa: PLR2004
        sound = bool(named) and parts.password is None and not parts.fragment
    except ValueError:
        sound = False
    if not sound or not _PRINTABLE.fullmatch(url) or "password=" in unquote(url):
        refuse("postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…, the password there or in recorder.password")
    return url


def _service_store(url: str) -> str:
    http = _url(url.replace("grpc", "http", 1))
    if not http or http.port is None or http.path.strip("/"):
        refuse("grpc://HOST:PORT or grpcs://HOST:PORT")
    if http.scheme == "http" and not is_loopback(http.hostname or ""):
        refuse("grpcs://HOST:PORT, or grpc:// to loopback: records hold prompts")
    return url.rstrip("/")


def _plainly(url: str) -> str:
    """The URL with its scheme in lower case, by which everybody tells whether there is TLS."""
    scheme, colon, rest = url.partition(":")
    return scheme.lower() + colon + rest


def _url(text: str) -> SplitResult | None:
    if not _PRINTABLE.fullmatch(text) or set(text) & set(" ?#@\\"):
        return None
    try:
        url = urlsplit(text)
        sound = url.scheme in {"http", "https"} and url.port != 0
    except ValueError:
        return None
    host = url.hostname or ""
    return url if sound and (is_ip(host) or _HOST.fullmatch(host)) else None
