"""From a TOML file and the environment to settings. Nothing else in the package reads the environment."""

import os
import re
import ssl
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from sidecar.core.errors import BadSetting
from sidecar.settings import keys
from sidecar.settings.client_keys import clients
from sidecar.settings.identity import Issuer
from sidecar.settings.model import Provider, Recorder, Settings
from sidecar.settings.otel_environment import standard
from sidecar.settings.refusals import dotted, line, lines

DEFAULT_FILE = Path("aibridge.toml")
_PREFIX = "AIBRIDGE_"
_KEY = "OPENAI_API_KEY"
# Kubernetes gives every pod these variables of each service in its namespace, one named `aibridge` included.
_SERVICE_LINK = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)", re.ASCII)
# Where the distributions keep the certificate authorities they trust.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
Others = TypeVar("Others", Provider, Issuer, Recorder)
_OTLP_PROTOCOLS = {"grpc": "grpc", "http/protobuf": "http"}


class _Sourced(Settings, BaseSettings):
    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_nested_delimiter="__")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 (pydantic-settings' signature)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load(config: Path | None) -> Settings:
    """The settings of the file `config`, or of ./aibridge.toml if there is one, and of the environment, which wins.

    Raises BadSetting with one line for each wrong setting.
    """
    if config is None and _is_there(DEFAULT_FILE):
        config = DEFAULT_FILE
    written = _file(config) if config else {}
    _known(written, "")
    _known((name for name in map(_variable, os.environ) if name), _PREFIX)
    _fall_back(written)
    try:
        settings = _Sourced(**written)
    except ValidationError as error:
        raise BadSetting(lines(error)) from None
    except SettingsError as error:
        raise BadSetting(_undecodable(error)) from None
    added = settings.credentials.inject_by == "sidecar"  # else nobody reads keys who stays
    providers = tuple(_completed(index, provider, added=added) for index, provider in enumerate(settings.providers))
    if settings.identity.keys_file:
        clients(settings.identity.keys_file)
    telemetry = settings.telemetry
    if telemetry.otlp_endpoint:  # else it is nobody's business what stands there
        is_secured = telemetry.otlp_endpoint.startswith("https:")
        telemetry = telemetry.told(standard(os.environ, _system_bundle() if is_secured else None))
    return settings.model_copy(
        update={
            "providers": providers,
            "issuers": tuple(_trusting(issuer, issuer.jwks_url.startswith("https:")) for issuer in settings.issuers),
            "recorder": _trusting(settings.recorder, settings.recorder.url.startswith("grpcs:")),
            "telemetry": telemetry,
        }
    )


def bare_environment() -> dict[str, str]:
    """The environment without what may be settings, keys among them: for processes that need none."""
    return {name: value for name, value in os.environ.items() if not _is_ours(name.upper())}


def _is_ours(name: str) -> bool:
    return name == _KEY or name.startswith((_PREFIX, "OTEL_"))  # the latter's headers may hold keys as well


def _is_there(config: Path) -> bool:
    """Whether something is, whatever it is: a link to nowhere is no leave to go by the defaults."""
    try:
        config.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        pass  # who reads it says why not
    return True


def _file(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        raise BadSetting(line("--config", str(config), f"cannot be read ({error.strerror})")) from None
    except UnicodeDecodeError:
        raise BadSetting(line("--config", str(config), "is not UTF-8; allowed: a TOML file")) from None
    except tomllib.TOMLDecodeError as error:
        # Its text may quote what stands there.
        place = re.search(r"\((at [^()]*)\)$", str(error))
        raise BadSetting(line("--config", str(config), f"is not TOML ({place[1] if place else 'somewhere'})")) from None
    except (ValueError, RecursionError):  # thousands of digits, or of brackets
        raise BadSetting(line("--config", str(config), "has a value that is too long; allowed: a TOML file")) from None


def _variable(name: str) -> str | None:
    """The top-level setting that an environment variable is about; None if it is none of ours."""
    upper = name.upper()
    if not upper.startswith(_PREFIX) or _SERVICE_LINK.fullmatch(upper.removeprefix(_PREFIX)):
        return None
    return upper.removeprefix(_PREFIX).split("__")[0].lower()


def _known(names: Iterable[str], prefix: str) -> None:
    for name in names:
        if name not in Settings.model_fields:
            allowed = ", ".join(prefix + (field.upper() if prefix else field) for field in Settings.model_fields)
            shown = prefix + (name.upper() if prefix else name)
            raise BadSetting(line(dotted((shown,)), SecretStr(""), f"no such setting; allowed: {allowed}"))


def _fall_back(written: dict[str, Any]) -> None:
    """What everybody's environment says, where ours and the file say nothing."""
    if "providers" not in written:
        written["providers"] = [{"api_key": os.environ.get(_KEY, "").strip()}]
    telemetry = written.setdefault("telemetry", {})
    protocol = _OTLP_PROTOCOLS.get(os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", ""))
    if protocol and isinstance(telemetry, dict):
        telemetry.setdefault("otlp_protocol", protocol)


def _undecodable(error: SettingsError) -> str:
    field = re.search(r'field "(\w+)"', str(error))
    variable = f"{_PREFIX}{field[1].upper()}" if field else f"{_PREFIX}…"
    # It knows the section alone, and what is set may be one of its members.
    there = sorted(name for name in os.environ if name.upper() == variable or name.upper().startswith(f"{variable}__"))
    return line(" or ".join(there) or variable, SecretStr(""), "is not JSON; allowed: lists and sections as JSON")


def _completed(index: int, provider: Provider, *, added: bool) -> Provider:
    """With the key that `api_key_file` holds, unless Envoy adds it, and the system's authorities if it has none."""
    if provider.api_key_file and added:
        key = keys.key(keys.setting(index), provider.api_key_file)
        provider = provider.model_copy(update={"api_key": key})
    return _trusting(provider, provider.tls)


def _trusting(others: Others, tls: bool) -> Others:  # noqa: FBT001 -- as `Provider.tls`
    """With the system's certificate authorities, unless they name their own or are not reached over TLS."""
    return others.model_copy(update={"ca_file": _system_bundle()}) if tls and not others.ca_file else others


def has_authorities(provider: Provider) -> bool:
    """Whether it is judged by authorities of its own, and not by the system's, which change when that does."""
    return provider.tls and provider.ca_file not in {None, _system_bundle()}


def _system_bundle() -> Path | None:
    candidates = (ssl.get_default_verify_paths().cafile, *_BUNDLES)  # the first honours SSL_CERT_FILE
    return next((Path(name) for name in candidates if name and Path(name).is_file()), None)
